// Bars with entries, exits, stops and targets, by TradingView Lightweight Charts.
"use strict";

/** Where a time lies between bars: a fractional bar number. */
function barNumber(times, barSeconds, t) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= t) low = middle; else high = middle - 1;
  }
  return low + Math.min(Math.max((t - times[low]) / barSeconds, 0), 1) - 0.5;
}

/** Draws trades over the bars: paths from entry to exit, fills, stops as steps; of the one chosen its risk and target. */
class TradesOverlay {
  constructor(trades, picture) {
    this.trades = trades;
    this.picture = picture;
    this.chosen = null;
  }
  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }
  choose(number) {
    this.chosen = number;
    this.requestUpdate?.();
  }
  updateAllViews() {}
  /** The stop and the target of the trade chosen are to be seen. */
  autoscaleInfo(from, to) {
    const t = this.trades.find((one) => one.number === this.chosen && one.last >= from && one.first <= to);
    if (!t) return null;
    const prices = [t.entry, t.exit, t.target, ...t.stops.map((s) => s.price)].filter((p) => p != null);
    return { priceRange: { minValue: Math.min(...prices), maxValue: Math.max(...prices) } };
  }
  paneViews() {
    return [{ zOrder: () => "top", renderer: () => ({ draw: (target) => target.useMediaCoordinateSpace((scope) => this.draw(scope)) }) }];
  }
  draw({ context: c, mediaSize }) {
    const scale = this.chart.timeScale(), range = scale.getVisibleLogicalRange();
    if (!range) return;
    const x = (number) => scale.logicalToCoordinate(Math.floor(number)) + (number - Math.floor(number)) * scale.options().barSpacing;
    const y = (price) => this.series.priceToCoordinate(price);
    const shown = this.trades.filter((t) => t.last >= range.from - 1 && t.first <= range.to + 1);
    const dense = shown.length > mediaSize.width / 9;
    c.lineCap = "round";
    for (const t of shown) if (t.number !== this.chosen) this.drawTrade(c, t, x, y, dense, false);
    const chosen = shown.find((t) => t.number === this.chosen);
    if (chosen) this.drawTrade(c, chosen, x, y, false, true);
  }
  drawTrade(c, t, x, y, dense, chosen) {
    const p = this.picture, outcome = t.net >= 0 ? p.gain : p.loss;
    const [x0, x1] = [x(t.first), x(t.last)], y0 = y(t.entry), y1 = y(t.exit ?? t.entry);
    if (x0 == null || x1 == null || y0 == null || y1 == null) return;
    if (dense && !chosen) return this.dot(c, x1, y1, outcome, 2.2, true);
    if (chosen && t.stops.length) {
      const ys = y(t.stops[0].price);
      c.fillStyle = p.lossSoft;
      c.fillRect(x0, Math.min(y0, ys), x1 - x0, Math.abs(ys - y0));
      if (t.target != null) {
        const yt = y(t.target);
        c.fillStyle = p.gainSoft;
        c.fillRect(x0, Math.min(y0, yt), x1 - x0, Math.abs(yt - y0));
      }
    }
    this.steps(c, t.stops, x, y, x1, p.loss, chosen ? 1.6 : 1);
    c.setLineDash([3, 3]);
    c.strokeStyle = outcome;
    c.lineWidth = chosen ? 1.6 : 1.1;
    c.beginPath(); c.moveTo(x0, y0); c.lineTo(x1, y1); c.stroke();
    c.setLineDash([]);
    for (const fill of t.fills) this.dot(c, x(fill.at), y(fill.price), fill.entry ? p.ink : outcome, chosen ? 3.6 : 2.6, fill.entry);
    this.arrow(c, x0, y0, t.side, t.side > 0 ? p.gain : p.loss, chosen ? 7 : 5.5);
  }
  steps(c, levels, x, y, end, stroke, width) {
    if (!levels.length) return;
    c.strokeStyle = stroke;
    c.lineWidth = width;
    c.beginPath();
    levels.forEach((level, i) => {
      const from = x(level.at), to = i + 1 < levels.length ? x(levels[i + 1].at) : end, at = y(level.price);
      if (i === 0) c.moveTo(from, at); else c.lineTo(from, at);
      c.lineTo(Math.max(to, from), at);
    });
    c.stroke();
  }
  dot(c, x, y, fill, radius, solid) {
    if (x == null || y == null) return;
    c.beginPath(); c.arc(x, y, radius, 0, 7);
    c.fillStyle = solid ? fill : this.picture.card;
    c.fill();
    c.lineWidth = 1.5;
    c.strokeStyle = solid ? this.picture.card : fill;
    c.stroke();
  }
  arrow(c, x, y, side, fill, size) {
    const tip = y + side * 5, base = tip + side * size * 1.5;
    c.beginPath(); c.moveTo(x, tip); c.lineTo(x - size, base); c.lineTo(x + size, base); c.closePath();
    c.fillStyle = fill;
    c.fill();
  }
}

/** The trades of one symbol as the overlay draws them, by bar number. */
function drawnTrades(report, bars, symbol) {
  const { trades, fills, levels } = report, at = (t) => barNumber(bars.time, bars.bar_s, t), found = new Map();
  const end = bars.time.length ? bars.time[bars.time.length - 1] + bars.bar_s : 0;
  trades.symbol.forEach((name, number) => {
    if (name !== symbol) return;
    const closed = trades.closed[number] ?? end;
    found.set(number, {
      number, side: trades.side[number] === "long" ? 1 : -1, net: trades.net[number], entry: trades.entry_price[number],
      exit: trades.exit_price[number], first: at(trades.opened[number]), last: at(closed), fills: [], stops: [], target: null,
    });
  });
  fills.trade.forEach((number, i) => found.get(number)?.fills.push({ at: at(fills.time[i]), price: fills.price[i], entry: fills.purpose[i] === "entry" }));
  levels.trade.forEach((number, i) => {
    const t = found.get(number);
    if (t && levels.purpose[i] === "stop") t.stops.push({ at: at(levels.time[i]), price: levels.price[i] });
    if (t && levels.purpose[i] === "take_profit") t.target = levels.price[i];
  });
  return [...found.values()];
}

const picture = () => ({
  gain: colour("gain"), loss: colour("loss"), ink: colour("ink"), card: colour("card"), gainSoft: colour("gain-soft"), lossSoft: colour("loss-soft"),
});

class PriceChart {
  constructor(report, element, reading) {
    Object.assign(this, { report, element, reading });
    this.bars = report.bars[0];
    this.onChoice = () => {};
    this.build();
    element.addEventListener("focusin", () => this.wheel(true));
    element.addEventListener("focusout", () => this.wheel(false));
    element.addEventListener("keydown", (event) => this.key(event));
  }
  wheel(on) {
    this.chart.applyOptions({ handleScroll: { mouseWheel: on, vertTouchDrag: false }, handleScale: { mouseWheel: on } });
  }
  build() {
    const L = LightweightCharts, places = this.bars.places;
    this.chart?.remove();
    this.chart = L.createChart(this.element, {
      autoSize: true,
      layout: { background: { color: "transparent" }, textColor: colour("soft"), fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily, attributionLogo: true },
      grid: { vertLines: { color: colour("hair") }, horzLines: { color: colour("hair") } },
      crosshair: { mode: L.CrosshairMode.Normal },
      rightPriceScale: { borderColor: colour("line"), scaleMargins: { top: 0.08, bottom: 0.2 } },
      timeScale: { borderColor: colour("line"), timeVisible: true, secondsVisible: false, minBarSpacing: 0.005, rightOffset: 2 },
      handleScroll: { mouseWheel: false, vertTouchDrag: false }, handleScale: { mouseWheel: false },
    });
    this.candles = this.chart.addSeries(L.CandlestickSeries, {
      upColor: colour("gain"), downColor: colour("loss"), wickUpColor: colour("gain"), wickDownColor: colour("loss"), borderVisible: false,
      priceLineVisible: false, priceFormat: { type: "price", precision: places, minMove: 10 ** -places },
    });
    this.candles.setData(this.bars.rows);
    this.volume = this.chart.addSeries(L.HistogramSeries, { priceScaleId: "", color: colour("line"), lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.volume.setData(this.bars.time.map((time, i) => ({ time, value: this.bars.volume[i] })));
    this.trades = drawnTrades(this.report, this.bars, this.bars.symbol);
    this.overlay = new TradesOverlay(this.trades, picture());
    this.candles.attachPrimitive(this.overlay);
    this.chart.subscribeCrosshairMove((move) => this.read(move));
    this.chart.subscribeClick((click) => this.pick(click));
    this.whole();
  }
  restyle() {
    const range = this.chart.timeScale().getVisibleLogicalRange(), chosen = this.overlay.chosen;
    this.build();
    if (range) this.chart.timeScale().setVisibleLogicalRange(range);
    this.overlay.choose(chosen);
  }
  whole() {
    this.chart.timeScale().setVisibleLogicalRange({ from: -1, to: this.bars.time.length });
  }
  span(seconds) {
    const n = this.bars.time.length, range = this.chart.timeScale().getVisibleLogicalRange();
    const to = Math.min(range?.to ?? n, n + 2), bars = seconds / this.bars.bar_s;
    const middle = this.trades.find((t) => t.number === this.overlay.chosen);
    const end = middle ? (middle.first + middle.last) / 2 + bars / 2 : to;
    this.chart.timeScale().setVisibleLogicalRange({ from: end - bars, to: end });
  }
  /** Shows a trade with what came before and after it. */
  show(number) {
    const symbol = this.report.trades.symbol[number];
    if (symbol !== this.bars.symbol) this.use(symbol);
    const trade = this.trades.find((t) => t.number === number);
    if (!trade) return;
    const room = Math.max(24, (trade.last - trade.first) * 0.8);
    this.overlay.choose(number);
    this.chart.timeScale().setVisibleLogicalRange({ from: trade.first - room, to: trade.last + room });
    this.say(number);
  }
  use(symbol) {
    const bars = this.report.bars.find((one) => one.symbol === symbol);
    if (!bars) return;
    this.bars = bars;
    this.build();
  }
  pick(click) {
    if (click.logical == null) return;
    const near = this.trades.filter((t) => click.logical >= t.first - 1 && click.logical <= t.last + 1);
    if (near.length) { this.overlay.choose(near[0].number); this.say(near[0].number); this.onChoice(near[0].number); }
  }
  say(number) {
    const t = this.report.trades, places = this.bars.places;
    const exit = t.exit_price[number] == null ? "still open" : `${money(t.exit_price[number], places)} by ${t.reason[number]}`;
    this.reading.textContent = `#${number + 1} ${t.side[number]} ${utc(t.opened[number])} at ${money(t.entry_price[number], places)} → ${exit}, ${signed(t.net[number])}`;
  }
  read(move) {
    const bar = move.seriesData?.get(this.candles);
    if (!bar) { if (this.overlay.chosen != null) this.say(this.overlay.chosen); else this.reading.textContent = ""; return; }
    const places = this.bars.places, of = (v) => money(v, places);
    this.reading.textContent = `${utc(bar.time)}  O ${of(bar.open)}  H ${of(bar.high)}  L ${of(bar.low)}  C ${of(bar.close)}`;
  }
  step(by) {
    const numbers = this.trades.map((t) => t.number), at = numbers.indexOf(this.overlay.chosen);
    const next = numbers[at < 0 ? (by > 0 ? 0 : numbers.length - 1) : Math.min(Math.max(at + by, 0), numbers.length - 1)];
    if (next != null) { this.show(next); this.onChoice(next); }
  }
  move(share, factor) {
    const scale = this.chart.timeScale(), range = scale.getVisibleLogicalRange();
    if (!range) return;
    const width = range.to - range.from, middle = (range.from + range.to) / 2 + share * width;
    scale.setVisibleLogicalRange({ from: middle - (width * factor) / 2, to: middle + (width * factor) / 2 });
  }
  key(event) {
    const acts = {
      ArrowLeft: () => this.move(-0.2, 1), ArrowRight: () => this.move(0.2, 1), "+": () => this.move(0, 0.6), "=": () => this.move(0, 0.6), "-": () => this.move(0, 1.7),
      Home: () => this.whole(), n: () => this.step(1), p: () => this.step(-1),
    };
    const act = acts[event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(); }
  }
}

/** The rows that the library reads. */
async function unpackedBars(packedBars) {
  const bars = await table(packedBars), unit = 10 ** bars.places;
  let close = 0;
  bars.rows = bars.time.map((time, i) => {
    const open = close + bars.gap[i];
    close = open + bars.body[i];
    return { time, open: open / unit, high: (Math.max(open, close) + bars.up[i]) / unit, low: (Math.min(open, close) - bars.down[i]) / unit, close: close / unit };
  });
  return bars;
}
