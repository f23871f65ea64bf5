"""Read a page as a browser's parser would, for tests: its tables' cells, its scripts, what it refers to."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """A page's tables by id, each a list of rows of text; its scripts; every address in an attribute."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.labels: list[str] = []
        self._table: list[list[str]] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.labels += [names["aria-label"]] if tag == "svg" else []
        if tag == "table":
            self._table = self.tables.setdefault(names.get("id") or names.get("class", ""), [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")
        elif tag == "script":
            self.scripts.append("")
        self._in = {"td": "cell", "th": "cell", "script": "script"}.get(tag, self._in)

    def handle_endtag(self, tag):
        if tag in ("td", "th", "script"):
            self._in = ""

    def handle_data(self, data):
        if self._in == "cell":
            self._table[-1][-1] += data
        elif self._in == "script":
            self.scripts[-1] += data
