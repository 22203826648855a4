// Gives back the columns that report/packing.py wrote.
"use strict";

const MISSING = -(2 ** 31);

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Whole numbers of the column's decimal unit; null where nothing is. */
async function wholes({ count, steps, z }) {
  const planes = await inflated(z);
  const found = new Int32Array(count);
  for (let i = 0, sum = 0; i < count; i++) {
    const own = planes[i] | (planes[count + i] << 8) | (planes[2 * count + i] << 16) | (planes[3 * count + i] << 24);
    sum = steps ? (sum + own) | 0 : own;
    found[i] = sum;
  }
  return found;
}

async function numbers(column) {
  const unit = 10 ** column.places;
  return Array.from(await wholes(column), (n) => (n === MISSING ? null : n / unit));
}

async function words(column) {
  return Array.from(await wholes(column.at), (n) => (n === MISSING ? null : column.words[n]));
}

/** A table of packed columns as an object of arrays. */
async function table(columns) {
  const made = Object.entries(columns).map(async ([name, column]) => [
    name,
    column && column.words ? await words(column) : column && column.z ? await numbers(column) : column,
  ]);
  return Object.fromEntries(await Promise.all(made));
}
