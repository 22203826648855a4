// Puts the page together once its columns are unpacked.
"use strict";

async function unpacked() {
  const raw = JSON.parse(document.getElementById("report-data").textContent);
  const [equity, resampled, trades, fills, levels, bars] = await Promise.all([
    table(raw.equity), table(raw.resampled), table(raw.trades), table(raw.fills), table(raw.levels), Promise.all(raw.bars.map(unpackedBars)),
  ]);
  return { ...raw, equity, resampled, trades, fills, levels, bars };
}

function priceTools(chart, report) {
  const DAY = 86400, tools = document.getElementById("price-tools");
  for (const button of tools.querySelectorAll("button")) {
    const days = Number(button.dataset.days);
    button.addEventListener("click", () => (days ? chart.span(days * DAY) : chart.whole()));
  }
  const select = tools.querySelector("select");
  if (report.bars.length < 2) return select.remove();
  for (const { symbol } of report.bars) select.add(new Option(symbol, symbol));
  select.addEventListener("input", () => chart.use(select.value));
}

async function start() {
  const report = await unpacked(), element = document.getElementById("price-chart");
  window.traderReport = report;
  let takeAway = drawCurves(report);
  const chart = report.bars.length ? new PriceChart(report, element, document.getElementById("reading")) : null;
  if (chart) priceTools(chart, report);
  const jump = (number) => {
    if (!chart) return;
    chart.show(number);
    document.getElementById("price").scrollIntoView({ block: "start", behavior: "instant" });
    element.focus({ preventScroll: true });
  };
  const trades = new TradeTable(report, document.getElementById("trades-panel"), jump);
  if (chart) chart.onChoice = (number) => trades.choose(number);
  window.traderReport.charts = { chart, trades };

  const again = () => { takeAway(); takeAway = drawCurves(report); chart?.restyle(); };
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; takeAway(); takeAway = drawCurves(report); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("beforeprint", () => { document.documentElement.classList.add("printing"); again(); });
  window.addEventListener("afterprint", () => { document.documentElement.classList.remove("printing"); again(); });
  requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset.ready = "yes"; }));
}

start().catch((error) => {
  document.documentElement.dataset.ready = "failed";
  const said = document.createElement("p");
  said.className = "empty loss";
  said.textContent = `The charts could not be drawn: ${error.message}. The figures stand all the same.`;
  document.getElementById("equity").prepend(said);
  console.error(error);
});
