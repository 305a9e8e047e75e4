"""Secrets in free text: passwords of URLs, assignments, keys, tokens and card numbers.

Each step reads the text only once: the text comes from strangers, and may be long.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

MARK: Final = "•••"
"""Stands for a secret in a text."""

NamesSecret = Callable[[str, bool], bool]
"""Tells whether a name (in a URL's query or not) names a secret."""

_SIGN: Final = re.compile(r"""[=:<@\d]|--|["'],""")


def is_plain(text: str) -> bool:
    """Whether *text* lacks all signs that come with a secret: a quick check before the search."""
    return _SIGN.search(text) is None


# --- URLs ------------------------------------------------------------------------------

_AUTHORITY: Final = re.compile(r"""[^\s/?#"'<>`\\]*+""")
_URL_END: Final = re.compile(r"""[\s"'<>`]""")
_SCHEME: Final = re.compile(r"(?<![A-Za-z0-9+.])[A-Za-z][A-Za-z0-9+.]*+\Z")
_PORT: Final = re.compile(r"\d*\Z")
_PORT_IN_SENTENCE: Final = re.compile(r"\d{1,5}[:,;.)]{1,2}(?!\S)")  # ``http://h:8080: refused``
_WEB: Final = ("http", "https", "ws", "wss", "git+https")
_USER_IS_NO_SECRET: Final = (
    *("amqp", "amqps", "mysql", "postgres", "postgresql", "rabbitmq", "sftp", "ssh", "git+ssh"),
)
_MAX_USER_CHARS: Final = 24  # what is longer is rather a token
_MAX_SCHEME_CHARS: Final = 20


def mask_urls(text: str) -> str:
    """Mask the part before the ``@`` of URLs in *text*: a password, or a token alone."""
    parts: list[str] = []
    done = url_end = 0
    last_at = -1  # the last @ of the URL that ends at url_end
    start = text.find("://")
    while start >= 0:
        begin = start + 3
        if begin > url_end:
            end = _URL_END.search(text, begin)
            url_end = len(text) if end is None else end.start()
            last_at = text.rfind("@", begin, url_end)
        hidden = _hidden_in_url(text, start, last_at)
        if hidden is not None:
            parts += [text[done : hidden[0]], MARK]
            done = hidden[1]
            begin = max(begin, done)
        start = text.find("://", begin)
    return "".join([*parts, text[done:]])


def _hidden_in_url(text: str, start: int, last_at: int) -> tuple[int, int] | None:
    """Return from where to where the URL with ``://`` at *start* holds a secret, if it does."""
    begin = start + 3
    end = _end(_AUTHORITY, text, begin)
    at = text.rfind("@", begin, end)
    colon = text.find(":", begin, end if at < 0 else at)
    if at >= 0:
        if colon >= 0:
            return (colon + 1, at) if colon + 1 < at else None
        is_user = at - begin <= _MAX_USER_CHARS and _scheme(text, start) in _USER_IS_NO_SECRET
        return None if is_user or at == begin else (begin, at)
    if colon < 0 or text.startswith("[", begin):
        return None
    is_port = _PORT.match(text, colon + 1, end) is not None
    if last_at > end and not (is_port and _scheme(text, start) in _WEB):  # a / in a password
        return colon + 1, last_at
    if is_port or _PORT_IN_SENTENCE.match(text, colon + 1) is not None:
        return None
    return colon + 1, end  # a URL that was cut within its password


def _scheme(text: str, end: int) -> str:
    scheme = _SCHEME.search(text[max(end - _MAX_SCHEME_CHARS, 0) : end])
    return "" if scheme is None else scheme[0].lower()


# --- assignments -----------------------------------------------------------------------

_ASSIGNMENT: Final = re.compile(
    r"""
    (?<![\w.-]) (?:
        (?P<flag>--[\w.-]++) [ \t]++ (?=[^\s-])
        | (?<=[(\[]) [bBuU]?+ \\{0,9}+["'] (?P<pair>[\w.-]++) \\{0,9}+["'] , [ \t]{0,8}+
          (?=[bBuU]?\\{0,9}["'])
        | (?:name|key|field|header|variable|param|k) \\{0,9}+["'] [ \t]{0,8}+ : [ \t]{0,8}+
          [bBuU]?+ \\{0,9}+["'] (?P<setting>[\w.-]++) \\{0,9}+["'] , [ \t]{0,8}+
          \\{0,9}+["'] (?:value|val|content|default|v) \\{0,9}+["'] [ \t]{0,8}+ : [ \t]{0,8}+
        | (?P<name>[\w.-]++) (?:\\{0,9}+["'`])?+ [)\]]?+ [ \t]{0,8}+
          (?P<sign>=>|:=|={1,3}+|:(?!//)) [ \t]{0,8}+
    )
    | <(?P<tag>[\w.:-]++) (?:\s[^<>]{0,200}+)?+ > (?=[^<\s])
    """,
    re.VERBOSE,
)
_ASSIGNING: Final = ("=", ":", "--", "<", "',", '",')
_TYPED: Final = re.compile(r"\w{1,40}+[ \t]{0,8}+=(?!=)[ \t]{0,8}+")  # of ``password: str = …``
_QUOTE: Final = re.compile(r"""[bBfFrRuU]{0,2}+(\\{0,9}+)(["'`])""")
_QUOTED: Final = {
    '"': re.compile(r'(?:[^"\\]|\\.)*+', re.DOTALL),
    "'": re.compile(r"(?:[^'\\]|\\.)*+", re.DOTALL),
    "`": re.compile(r"(?:[^`\\]|\\.)*+", re.DOTALL),
}
_BRACKET: Final = re.compile(r"[()\[\]{}]")
_METHOD: Final = re.compile(
    r"(?:Bearer|Basic|Token|Digest|Negotiate|ApiKey|Key)[ \t]++(?=\S)", re.IGNORECASE
)
_WORD: Final = re.compile(
    r"""(?:[^\s&"'`<>;,()\[\]{}\\]|\\(?!["'`])|[,()\[\]{}](?=[^\s&"'`<>;,()\[\]{}.]))++"""
)
_LINE: Final = re.compile(r"""[^\r\n"'`\\]*+""")
_CONTENT: Final = re.compile(r"[^<]*+")
_HEADERS: Final = ("authorization", "proxy-authorization", "cookie", "set-cookie")
_NO_SECRETS: Final = frozenset({"", "none", "null", "nil", "true", "false", "undefined", MARK})


def may_assign(text: str) -> bool:
    """Whether *text* has a sign with which a value is assigned: a quick check before the search."""
    return any(sign in text for sign in _ASSIGNING)


def mask_assignments(
    text: str, names_secret: NamesSecret, names_count: Callable[[str], bool]
) -> str:
    """Mask values assigned to names of secrets: ``password=…``, ``"token": "…"``, ``Authorization:
    Bearer …``, ``--password …``, ``<password>…</password>``, ``('password', '…')``, ``{'name':
    'PASSWORD', 'value': '…'}``."""
    parts: list[str] = []
    done = position = 0
    while (match := _ASSIGNMENT.search(text, position)) is not None:
        position = match.end()
        name = next(filter(None, match.group("name", "flag", "tag", "pair", "setting")))
        in_query = match.start() > 0 and text[match.start() - 1] in "?&"
        if not names_secret(name, in_query):
            if match["tag"]:
                position = match.end("tag")  # its attributes may hold some
            elif match["pair"]:
                position = match.end("pair")  # the second may be a name as well
            continue
        begin, end, after = _value(text, position, name.lower(), match)
        if match["pair"] and text[after : after + 1] not in (")", "]", ""):
            continue  # a list of names
        position = after
        value = text[begin:end].strip()
        if value.lower() in _NO_SECRETS or (_is_number(value) and names_count(name)):
            continue
        parts += [text[done:begin], MARK]
        done = end
    return "".join([*parts, text[done:]])


def _value(text: str, begin: int, name: str, match: re.Match[str]) -> tuple[int, int, int]:
    """Return the start and the end of the value at *begin*, and the position after it to search on
    from."""
    if match["tag"]:
        end = _end(_CONTENT, text, begin)
        return begin, end, end
    if match["sign"] == ":" and (typed := _TYPED.match(text, begin)) is not None:
        begin = typed.end()
    quote = _QUOTE.match(text, begin)
    if quote is not None and text.startswith(quote[2] * 2, quote.end()):
        end = text.find(quote[2] * 3, quote.end() + 2)
        end = len(text) if end < 0 else end
        return quote.end() + 2, end, min(end + 3, len(text))
    if quote is not None:
        end = _end_of_quoted(text, quote)
        return quote.end(), end, min(end + len(quote[1]) + 1, len(text))
    if name in _HEADERS and match["sign"] == ":":
        end = _end(_LINE, text, begin)
    elif text[begin : begin + 1] in ("(", "[", "{"):
        end = _end_of_brackets(text, begin)
    else:
        method = _METHOD.match(text, begin)
        end = _end(_WORD, text, begin if method is None else method.end())
    return begin, end, end


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    match = pattern.match(text, begin)
    return begin if match is None else match.end()


def _end_of_quoted(text: str, quote: re.Match[str]) -> int:
    escapes, mark = quote.groups()
    if not escapes:
        return _end(_QUOTED[mark], text, quote.end())
    end = text.find(escapes + mark, quote.end())
    while end > 0 and text[end - 1] == "\\":  # a quote within, one level deeper
        end = text.find(escapes + mark, end + 1)
    return len(text) if end < 0 else end


def _end_of_brackets(text: str, begin: int) -> int:
    depth = 0
    for bracket in _BRACKET.finditer(text, begin):
        depth += 1 if bracket[0] in "([{" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


# --- keys, tokens and card numbers -------------------------------------------------------

_KEY_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}+(?<=PRIVATE KEY)(?: BLOCK)?+-----")
_KEY_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,60}+(?:-----)?+")
_BEARER: Final = re.compile(
    r"""
    (?<!\w) (?: (?i:bearer)[ \t]{1,8}+ (?=[\w.~+/-]{0,19}?[\d.~+/]|[\w.~+/-]{20}) [\w.~+/=-]{8,}+
    | (?i:basic)[ \t]{1,8}+ (?=[A-Za-z+/]{0,80}+[0-9=]|[a-z]{0,80}+[A-Z])
      [A-Za-z0-9+/]{8,}+={0,2}+ )
    """,
    re.VERBOSE,
)
_TOKEN: Final = re.compile(
    r"""
    (?<![\w-]) (?:
        eyJ[\w-]{8,}+\.[\w-]{4,}+(?:\.[\w-]*+)?+
        | A[KS]IA[A-Z0-9]{12,}+
        | (?: gh[opsur]_ | github_pat_ | glpat- | xox[a-z]- | xapp- | npm_ | hf_ | pypi-
            | dop_v1_ | shp[a-z]{2}_ | [rs]k_(?:live|test)_ | whsec_ ) [\w-]{10,}+
        | sk- (?: [A-Za-z0-9]{20,} | (?=[A-Za-z_-]{0,60}+\d) [\w-]{16,}+ ) [\w-]*+
        | AIza[\w-]{30,}+
        | SG\.[\w-]{16,}+\.[\w-]{16,}+
        | ya29\.[\w-]{10,}+
    )
    """,
    re.VERBOSE,
)
_BEGINNING: Final = re.compile(
    r"eyJ|A[KS]IA|gh[opsur]_|gith|glpat|xox|xapp|npm_|hf_|pypi|dop_|shp|[rs]k_|whsec|sk-|AIza|SG\.|ya29"
)
_CARD: Final = re.compile(
    r"""
    \d (?<![\w.-]\d) (?:
        \d{3}([ -])\d{4}\1\d{4}\1\d{4}
        | \d{3}([ -])\d{6}\2\d{4,5}
        | \d{13,15}
    ) (?![\w-]|\.\d)
    """,
    re.VERBOSE | re.ASCII,
)
_ISSUERS: Final = re.compile(
    r"4\d{15}|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|(?:6011|64[4-9]\d|65\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|62\d{14}",
    re.ASCII,
)
_MIN_TOKEN_CHARS: Final = 14


def mask_tokens(text: str) -> str:
    """Mask private keys, tokens that are known by their beginning, and card numbers."""
    if len(text) < _MIN_TOKEN_CHARS:
        return text
    if "PRIVATE KEY" in text:
        text = _mask_private_keys(text)
    if _BEGINNING.search(text) is not None:
        text = _TOKEN.sub(lambda match: match[0][:3] + MARK, text)
    if "earer" in text or "asic" in text or "EARER" in text or "ASIC" in text:
        text = _BEARER.sub(lambda match: match[0].split(maxsplit=1)[0] + " " + MARK, text)
    return _CARD.sub(_masked_card, text)


def _mask_private_keys(text: str) -> str:
    parts: list[str] = []
    done = 0
    while (begin := _KEY_BEGIN.search(text, done)) is not None:
        end = _KEY_END.search(text, begin.end())
        parts += [text[done : begin.end()], MARK]
        done = len(text) if end is None else end.start()
    return "".join([*parts, text[done:]])


def _masked_card(match: re.Match[str]) -> str:
    digits = match[0].replace(" ", "").replace("-", "")
    return MARK + digits[-4:] if is_card(digits) else match[0]


def is_card(digits: str) -> bool:
    """Whether *digits* are a card number: in the range of an issuer, and with a valid check
    digit."""
    if _ISSUERS.fullmatch(digits) is None:
        return False
    doubled = (divmod(2 * int(digit), 10) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(a + b for a, b in doubled)) % 10 == 0
