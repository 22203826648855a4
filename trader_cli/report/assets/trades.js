// The table of trades: sorts, filters, and jumps to the chart.
"use strict";

const PAGE = 200;
const lasting = (seconds) =>
  seconds == null ? "open" : seconds < 5400 ? `${Math.round(seconds / 60)} min` : seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;

const COLUMNS = [
  { name: "#", left: true, value: (t, i) => i, show: (v) => String(v + 1) },
  { name: "opened, UTC", left: true, value: (t, i) => t.opened[i], show: (v) => utc(v) },
  { name: "lasted", value: (t, i) => (t.closed[i] == null ? null : t.closed[i] - t.opened[i]), show: lasting },
  { name: "symbol", left: true, value: (t, i) => t.symbol[i], several: true },
  { name: "side", left: true, value: (t, i) => t.side[i] },
  { name: "quantity", value: (t, i) => t.quantity[i], show: (v) => (v == null ? "–" : v.toLocaleString("en-US", { maximumFractionDigits: 8 })) },
  { name: "entry", value: (t, i) => t.entry_price[i], price: true },
  { name: "exit", value: (t, i) => t.exit_price[i], price: true },
  { name: "net", value: (t, i) => t.net[i], show: (v) => signed(v), tone: true },
  { name: "of notional", value: (t, i) => t.net[i] / (t.quantity[i] * t.entry_price[i]), show: (v) => (v > 0 ? "+" : "") + percent(v), tone: true },
  { name: "R", title: "net over what the first stop would have lost", value: (t, i) => (t.risk[i] ? t.net[i] / t.risk[i] : null), show: (v) => signed(v), tone: true },
  { name: "fees", value: (t, i) => t.fees[i], show: (v) => money(v) },
  { name: "funding", value: (t, i) => t.funding[i], show: (v) => money(v) },
  { name: "bare, s", title: "seconds without full cover", value: (t, i) => t.unprotected[i], show: (v) => money(v, 3) },
  { name: "left by", left: true, value: (t, i) => t.reason[i], show: (v) => v ?? "still open" },
];

class TradeTable {
  constructor(report, panel, jump) {
    Object.assign(this, { trades: report.trades, panel, jump });
    this.places = Object.fromEntries(report.bars.map((b) => [b.symbol, b.places]));
    this.columns = COLUMNS.filter((c) => !c.several || report.symbols.length > 1);
    this.order = { column: 0, down: false };
    this.limit = PAGE;
    this.chosen = null;
    this.all = this.trades.opened.map((_, i) => i);
    this.head();
    this.fillReasons();
    for (const control of panel.querySelectorAll("input, select")) control.addEventListener("input", () => { this.limit = PAGE; this.draw(); });
    panel.querySelector(".more").addEventListener("click", () => { this.limit += 1000; this.draw(); });
    window.addEventListener("beforeprint", () => { this.limit = Infinity; this.draw(); });
    this.draw();
  }
  fillReasons() {
    const select = this.panel.querySelector("[name=reason]");
    for (const reason of [...new Set(this.trades.reason)].sort()) select.add(new Option(reason ?? "still open", reason ?? ""));
  }
  head() {
    const row = this.panel.querySelector("thead tr");
    this.columns.forEach((column, i) => {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col";
      if (column.left) cell.className = "left";
      if (column.title) button.title = column.title;
      button.type = "button";
      button.textContent = column.name;
      button.addEventListener("click", () => {
        this.order = { column: i, down: this.order.column === i ? !this.order.down : !column.left };
        this.draw();
      });
      cell.append(button);
      row.append(cell);
    });
  }
  rows() {
    const form = Object.fromEntries([...this.panel.querySelectorAll("input, select")].map((e) => [e.name, e.value])), t = this.trades;
    const words = form.text.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = this.all.filter((i) => {
      if (form.side !== "any" && t.side[i] !== form.side) return false;
      if (form.outcome === "won" && !(t.net[i] > 0)) return false;
      if (form.outcome === "lost" && !(t.net[i] < 0)) return false;
      if (form.reason !== "any" && (t.reason[i] ?? "") !== form.reason) return false;
      const line = `${t.symbol[i]} ${t.side[i]} ${t.reason[i] ?? "still open"} ${utc(t.opened[i])} #${i + 1}`.toLowerCase();
      return words.every((word) => line.includes(word));
    });
    const { value } = this.columns[this.order.column], sign = this.order.down ? -1 : 1;
    return wanted.sort((a, b) => {
      const [x, y] = [value(t, a), value(t, b)];
      if (x == null || y == null) return (x == null) - (y == null) || a - b;
      return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
    });
  }
  draw() {
    const rows = this.rows(), body = this.panel.querySelector("tbody");
    body.replaceChildren(...rows.slice(0, this.limit).map((i) => this.row(i)));
    const net = rows.reduce((sum, i) => sum + this.trades.net[i], 0);
    this.panel.querySelector(".count").textContent = `${rows.length} of ${this.all.length}, ${signed(net)}`;
    this.panel.querySelector(".more").hidden = rows.length <= this.limit;
    this.panel.querySelectorAll("thead th").forEach((cell, i) => {
      if (i === this.order.column) cell.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }
  row(i) {
    const row = document.createElement("tr"), places = this.places[this.trades.symbol[i]] ?? 2;
    row.dataset.trade = i;
    row.setAttribute("aria-selected", String(i === this.chosen));
    for (const column of this.columns) {
      const cell = document.createElement("td"), value = column.value(this.trades, i);
      const text = column.price ? money(value, places) : column.show ? column.show(value) : String(value);
      if (column.left) cell.className = "left";
      if (column.tone && value != null) cell.className = value > 0 ? "gain" : value < 0 ? "loss" : "";
      if (column.name === "#") {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = text;
        button.setAttribute("aria-label", `Show trade ${text} in the chart`);
        cell.append(button);
      } else cell.textContent = text;
      row.append(cell);
    }
    row.addEventListener("click", () => { this.choose(i); this.jump(i); });
    return row;
  }
  choose(i) {
    this.chosen = i;
    for (const row of this.panel.querySelectorAll("tbody tr")) row.setAttribute("aria-selected", String(Number(row.dataset.trade) === i));
  }
}
