// Equity, drawdown and exposure over time, by uPlot.
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const minus = (text) => text.replace(/^-/, "−").replace(/-0(\.0+)?(%?)$/, "0$1$2");
const money = (v, digits = 2) =>
  v == null ? "–" : minus(v.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const signed = (v, digits = 2) => (v == null ? "–" : (v > 0 ? "+" : "") + money(v, digits));
const percent = (v, digits = 2) => (v == null ? "–" : minus((100 * v).toFixed(digits)) + "%");
const told = (v, write) => (v == null ? "" : write(v));
const pad = (n) => String(n).padStart(2, "0");
function utc(seconds, withTime = true) {
  const d = new Date(seconds * 1000);
  const day = `${d.getUTCFullYear()}-${pad(d.getUTCMonth() + 1)}-${pad(d.getUTCDate())}`;
  return withTime ? `${day} ${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}` : day;
}

/** Values known at `times`, read at `wanted`, straight lines between. */
function between(times, values, wanted) {
  let at = 0;
  return wanted.map((t) => {
    while (at + 1 < times.length && times[at + 1] < t) at++;
    if (at + 1 >= times.length || times[at] >= t) return values[Math.min(at, values.length - 1)] ?? null;
    const share = (t - times[at]) / (times[at + 1] - times[at]);
    return values[at] + share * (values[at + 1] - values[at]);
  });
}

function drawdownOf(levels, start) {
  let top = start;
  return levels.map((v) => ((top = Math.max(top, v)), v / top - 1));
}

function axis(size, values) {
  return {
    stroke: colour("faint"), grid: { stroke: colour("hair"), width: 1 }, ticks: { show: false },
    font: "11px system-ui, sans-serif", size, values, gap: 6,
  };
}

const TICKS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];

function timeAxis() {
  return { values: TICKS, stroke: colour("faint"), grid: { show: false }, ticks: { stroke: colour("line"), size: 4 }, font: "11px system-ui, sans-serif", space: 70, size: 42, gap: 2 };
}

function plot(element, height, series, data, yAxis, more = {}) {
  const options = {
    width: element.clientWidth, height, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
    padding: [8, 18, 0, 0],
    cursor: { sync: { key: "time" }, points: { size: 6 }, drag: { x: true, y: false } },
    legend: { markers: { width: 0, fill: (u, i) => u.series[i].mark ?? u.series[i].stroke?.(u, i) } },
    scales: { x: { time: true } },
    axes: [timeAxis(), yAxis],
    series: [{ value: (_, v) => (v == null ? "" : utc(v) + " UTC") }, ...series],
    ...more,
  };
  return new uPlot(options, data, element);
}

/** Exposure as one can see it: of more than sixty days the mean of each. */
function dailyMeans(times, net) {
  const DAY = 86400;
  if (times[times.length - 1] - times[0] < 60 * DAY) return { x: times, y: net, label: "net exposure, share of equity" };
  const x = [], y = [], counts = [];
  times.forEach((t, i) => {
    const day = Math.floor(t / DAY) * DAY;
    if (x[x.length - 1] !== day) { x.push(day); y.push(0); counts.push(0); }
    y[y.length - 1] += net[i];
    counts[counts.length - 1]++;
  });
  return { x, y: y.map((sum, i) => sum / counts[i]), label: "net exposure, mean of each day" };
}

/** Draws the curves; gives back what takes them away again. */
function drawCurves(report) {
  const { equity, resampled, balance } = report;
  if (equity.time.length < 2) return () => {};
  const x = equity.time, wide = window.innerWidth > 640;
  const lines = ["low", "high", "held"].map((name) => between(resampled.time, resampled[name], x));
  const whole = (_, vs) => vs.map((v) => v.toLocaleString("en-US", { maximumFractionDigits: 2 }));
  const shares = (_, vs) => vs.map((v) => minus((100 * v).toFixed(Math.abs(vs[1] - vs[0]) < 0.01 ? 1 : 0)) + "%");
  const left = wide ? 64 : 52, held = dailyMeans(x, equity.net);
  const made = [
    plot(document.getElementById("equity-chart"), wide ? 300 : 230, [
      { label: "5 % of resamples", mark: colour("band-mark"), stroke: "transparent", value: (_, v) => told(v, money), points: { show: false } },
      { label: "95 %", mark: colour("band-mark"), stroke: "transparent", value: (_, v) => told(v, money), points: { show: false } },
      { label: "same exposure held", stroke: colour("faint"), width: 1.2, dash: [5, 4], value: (_, v) => told(v, money), points: { show: false } },
      { label: "equity", stroke: colour("accent"), width: 1.8, value: (_, v) => (v == null ? "" : `${money(v)}, ${signed(100 * (v / balance - 1))}%`), points: { show: false } },
    ], [x, ...lines, equity.equity], axis(left, whole), { bands: [{ series: [2, 1], fill: colour("band") }] }),
    plot(document.getElementById("drawdown-chart"), wide ? 130 : 110, [
      { label: "drawdown", stroke: colour("loss"), width: 1.2, fill: colour("loss-soft"), value: (_, v) => told(v, percent), points: { show: false } },
    ], [x, drawdownOf(equity.equity, balance)], axis(left, shares), { scales: { x: { time: true }, y: { range: (_, low) => [Math.min(low, -1e-4) * 1.05, 0] } } }),
    plot(document.getElementById("exposure-chart"), wide ? 150 : 130, [
      { label: held.label, stroke: colour("accent"), width: 1.2, fill: colour("band"), value: (_, v) => told(v, (share) => percent(share, 1)), paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
    ], [held.x, held.y], axis(left, shares)),
  ];
  return () => made.forEach((one) => one.destroy());
}
