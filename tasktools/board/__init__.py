"""The live board as a page: a web server that is Voilà with one notebook, `board.ipynb`.

`server` listens at once and answers "starting …"; `voila_app` is Voilà reduced to what a board
needs; `options` passes to the notebook's kernel which cluster to show. Both packages that serve it,
tornado and Voilà, come with the extra `notebooks`.
"""
