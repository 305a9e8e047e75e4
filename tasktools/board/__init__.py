"""The live board as a page: a web server that is Voilà with one notebook, `board.ipynb`.

`server` listens from its first moment on and says "starting …"; `voila_app` is Voilà without what
a board does not need; `options` says to the notebook's kernel which cluster it shows. Both
packages that serve it, tornado and Voilà, come with the extra `notebooks`.
"""
