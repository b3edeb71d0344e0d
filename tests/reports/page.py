"""page.py PAGE.html REPORT.json: the page's tables hold the numbers and texts of the JSON, and so
does the JSON inside it; nothing is fetched; headings, tables and figures can be reached and read."""
import json
import sys
from html.parser import HTMLParser


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.table, self.row, self.cell = {}, None, None, None
        self.script, self.in_script, self.links, self.ids, self.faults = "", False, [], set(), []

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a:
            self.ids.add(a["id"])
        for key in ("src", "href"):
            if key in a:
                self.links.append(a[key])
        if tag == "table":
            self.table = self.tables.setdefault(a["id"].removeprefix("table-"), [])
        elif tag == "tr" and self.table is not None:
            self.row = []
        elif tag in ("td", "th") and self.row is not None and "data-v" not in a:
            self.cell = "" if a.get("scope") != "col" else None
        elif tag == "td":
            self.row.append(None if a["data-v"] == "null" else float(a["data-v"]))
        elif tag == "svg" and a.get("role") == "img" and not a.get("aria-label"):
            self.faults.append("a figure without a name")
        elif tag == "script":
            self.in_script = a.get("type") == "application/json" and a.get("id") == "data"
            if not self.in_script:
                self.faults.append("a script")
        elif tag == "div" and a.get("class", "").startswith("scroll graph") and a.get("tabindex") != "0":
            self.faults.append("a scroller that keys do not reach")

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.row.append(self.cell)
            self.cell = None
        elif tag == "tr" and self.row:
            self.table.append(self.row)
            self.row = None
        elif tag == "script":
            self.in_script = False

    def handle_data(self, data):
        if self.in_script:
            self.script += data
        elif self.cell is not None:
            self.cell += data


def main():
    page, want = Page(), json.load(open(sys.argv[2], encoding="utf-8"))
    page.feed(open(sys.argv[1], encoding="utf-8").read())
    assert not page.faults, page.faults
    assert json.loads(page.script) == want, "the JSON in the page is another"
    for link in page.links:
        assert link[0] == "#" and link[1:] in page.ids, "a link to " + link
    for name, rows in want.items():
        got = page.tables.get(name, [])
        assert got == [list(r.values()) for r in rows], f"table {name}: {got[:2]} for {rows[:2]}"
    cells = sum(len(r) * len(r[0]) for r in want.values() if r)
    assert cells > 300
    print(cells, "cells")


main()
