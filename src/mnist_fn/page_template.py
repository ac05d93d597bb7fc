"""The text of the page of ``page.py``: its looks, its script and what holds them together.

The script is ``images.py``, ``views.py`` and ``committees.py`` again, step by step and by the
same names, in the language of browsers; below that, what draws and shows.
"""

STYLE: str = r"""
:root {
  color-scheme: light dark;
  --ground: #f5f3ef; --text: #1d1c1a; --muted: #605c55; --line: #dedad2; --edge: #8b867c;
  --bar: #a9a398; --accent: #1d5bb8; --raised: #fff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #17181a; --text: #ecebe8; --muted: #a8a59f; --line: #2e3034; --edge: #76787d;
    --bar: #6d6f75; --accent: #8db9ff; --raised: #222428;
  }
  #paper { filter: brightness(.93); }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 47rem; padding: clamp(.75rem, 3vw, 2rem) 1rem 1rem;
  background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
}
h1, p, ol, figure { margin: 0; }
h1 { font-size: 1.6rem; font-weight: 650; line-height: 1.2; letter-spacing: -.01em; }
header { margin-bottom: 1.25rem; }
header p, .keys, figcaption, footer { color: var(--muted); }
.keys, figcaption, footer { font-size: .8125rem; }
main { display: grid; gap: 1rem 2.5rem; }
.sheet { display: grid; gap: .75rem; align-content: start; width: 100%; max-width: 20rem; }
#paper {
  display: block; width: 100%; aspect-ratio: 1; background: #fff; border-radius: .5rem;
  box-shadow: 0 0 0 1px var(--edge), 0 .5rem 1.5rem -.75rem #0006; cursor: crosshair;
  touch-action: none; user-select: none; -webkit-user-select: none;
}
.over #paper { box-shadow: 0 0 0 3px var(--accent); }
.tools { display: flex; flex-wrap: wrap; gap: .5rem; }
button, .open {
  flex: 1 0 auto; min-height: 2.75rem; padding: 0 .6rem; border: 1px solid var(--edge);
  border-radius: .5rem; background: var(--raised); color: inherit; font: inherit;
  display: grid; place-items: center; cursor: pointer; touch-action: manipulation;
}
button:hover, .open:hover { border-color: var(--accent); color: var(--accent); }
button[aria-disabled=true] { color: var(--muted); border-color: var(--line); cursor: default; }
button:focus-visible, .open:focus-within { outline: 3px solid var(--accent); outline-offset: 2px; }
kbd {
  padding: 0 .3em; border: 1px solid var(--edge); border-radius: .25rem; font: inherit;
  white-space: nowrap;
}
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }

.answer { display: grid; gap: .75rem; align-content: start; min-width: 0; }
.reading { display: flex; align-items: center; gap: 1rem; }
#digit {
  flex: none; min-width: .65em; font-size: 4.5rem; font-weight: 650; line-height: 1;
  color: var(--accent); text-align: center; font-variant-numeric: lining-nums tabular-nums;
}
#digit.none { color: var(--edge); font-weight: 300; }
#says { overflow-wrap: anywhere; }
ol {
  display: grid; grid: repeat(5, auto) / auto-flow 1fr; gap: 0 1.25rem; padding: 0;
  list-style: none; font-variant-numeric: tabular-nums;
}
li { display: grid; grid-template-columns: 1.25rem 1fr 4.25rem; align-items: center; }
li b { font-weight: 500; }
li i { height: .7rem; border-radius: .2rem; background: var(--line); overflow: hidden; }
li i::before {
  content: ""; display: block; height: 100%; background: var(--bar);
  transform: scaleX(var(--share, 0)); transform-origin: left; transition: transform .12s ease-out;
}
li span { text-align: right; color: var(--muted); font-size: .875rem; white-space: nowrap; }
li.first b, li.first span { color: var(--accent); font-weight: 600; }
li.first i::before { background: var(--accent); }
#frames { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { display: flex; align-items: center; gap: .75rem; white-space: pre-line; }
figure:not(:only-child) { flex-direction: column; align-items: start; width: 7rem; gap: .25rem; }
figure canvas {
  flex: none; width: 7rem; height: auto; border-radius: .35rem; background: #000;
  image-rendering: pixelated; box-shadow: 0 0 0 1px var(--edge);
}
footer { margin-top: 1.5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
footer b { color: var(--text); font-weight: 600; }
@media (min-width: 42rem) {
  main { grid-template: auto 1fr / 20rem 1fr; }
  .answer { grid-area: 1 / 2 / 3 / 3; }
  #digit { font-size: 6rem; }
  ol { grid: auto / auto; }
}
@media (prefers-reduced-motion: reduce) { li i::before { transition: none; } }
@media (forced-colors: active) { li i::before { background: CanvasText; } }
"""

SCRIPT: str = r"""
"use strict";
(() => {

// ---------------------------------------------------------------- images.py: any picture, framed

const SIDE = 28, BOX = 20;
const LUMINANCE = [0.299, 0.587, 0.114];  // ITU-R BT.601: what colours look like in grey
const LEAST_SIDE = 8;  // of the longer side: with less, there are no strokes
const MOST_SIDE = 512;  // a larger picture is scaled down first
const LEAST_CONTRAST = 13;  // of 255 grey values, between paper and ink
const SPECK = 1 / 8;  // of the largest piece of ink: what is smaller is dirt
const FINE = 8;  // in this many parts a pixel of the frame is cut
const THIN = 1.8, THICK = 5.0;  // the width of MNIST's strokes, in pixels
const OF_THIN = 2.6, OF_THICK = 4.5;  // what thinner and thicker strokes are made

// An image is {height, width, values}, its rows one after the other.
const blank = (height, width) => ({ height, width, values: new Float64Array(height * width) });
const rounded = (x) => Math.floor(x + 0.5);

function frame(width, height, rgba) {
  return placed(fitted(ink(grey(width, height, rgba)))).values;
}

function grey(width, height, rgba) {
  if (Math.max(width, height) < LEAST_SIDE || width === 0 || height === 0) {
    throw new RangeError(
      `The picture is ${width} x ${height} pixels, which is too small: it must be ` +
      `${LEAST_SIDE} pixels wide or high, or more.`);
  }
  const block = Math.ceil(Math.max(height, width) / MOST_SIDE);
  const seen = blank(Math.ceil(height / block), Math.ceil(width / block));
  const alpha = new Float64Array(seen.values.length);
  const [red, green, blue] = LUMINANCE.map((part) => part / 255 / 255);
  for (let y = 0, i = 0; y < height; y++) {
    let at = Math.floor(y / block) * seen.width;
    for (let left = 0; left < width; left += block, at++) {
      let of_seen = 0, of_alpha = 0;
      for (const end = 4 * (y * width + Math.min(left + block, width)); i < end; i += 4) {
        const part = rgba[i + 3];
        of_seen += (red * rgba[i] + green * rgba[i + 1] + blue * rgba[i + 2]) * part;
        of_alpha += part;
      }
      seen.values[at] += of_seen;
      alpha[at] += of_alpha;
    }
  }
  for (let y = 0, at = 0; y < seen.height; y++) {
    const high = Math.min(block, height - y * block);
    for (let x = 0; x < seen.width; x++, at++) {
      const count = high * Math.min(block, width - x * block);
      seen.values[at] /= count;
      alpha[at] /= count * 255;
    }
  }
  // What is transparent is black if that which is seen is light, and else white.
  const ground = sum(seen.values) > sum(alpha) / 2 ? 0 : 1;
  for (let at = 0; at < alpha.length; at++) seen.values[at] += ground * (1 - alpha[at]);
  return seen;
}

// The strokes of a picture: how dark they are, from 0 to 1, and which pixels are theirs.
function ink(image) {
  const { height, width } = image;
  const ground = paper(image);
  let light = 0, dark = 0;
  for (let i = 0; i < ground.length; i++) {
    const difference = image.values[i] - ground[i];
    if (difference > 0) light += difference * difference;
    else dark += difference * difference;
  }
  const sign = light > dark ? 1 : -1;
  const levels = new Uint8Array(ground.length);
  for (let i = 0; i < levels.length; i++) {
    levels[i] = rounded(255 * clip(sign * (image.values[i] - ground[i]), 0, 1));
  }
  const mask = withoutSpecks(height, width, levels, threshold(levels));
  const full = mostly(levels, mask);
  if (full < LEAST_CONTRAST) {
    throw new RangeError(
      `There is no digit to be seen: the picture's grey values differ from the paper's by ` +
      `${full} of 255 at most, but strokes must by ${LEAST_CONTRAST}.`);
  }
  const strokes = blank(height, width);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (mask[i]) {
        for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, height - 1); j++) {
          for (let k = Math.max(x - 1, 0); k <= Math.min(x + 1, width - 1); k++) {
            strokes.values[j * width + k] = Math.min(levels[j * width + k] / full, 1);
          }
        }
      }
    }
  }
  return { ...strokes, mask };
}

// What nine in ten of the strokes' levels are at most.
function mostly(levels, mask) {
  const counts = new Float64Array(256);
  for (let i = 0; i < levels.length; i++) if (mask[i]) counts[levels[i]] += 1;
  let level = 0, after = Math.floor(9 * (sum(counts) - 1) / 10);
  while (level < 255 && after >= counts[level]) after -= counts[level++];
  return after < 0 ? 0 : level;
}

// The paper's grey values: the surface of second degree that most pixels are near. It begins
// with the picture's rim, which strokes seldom cover.
function paper({ height, width, values }) {
  const margin = Math.max(1, Math.floor(Math.min(height, width) / 14));
  const on_rim = new Uint8Array(values.length).fill(1);
  for (let y = margin; y < height - margin && width > 2 * margin; y++) {
    on_rim.fill(0, y * width + margin, (y + 1) * width - margin);
  }
  const scratch = new Float64Array(values.length);
  const median_on_rim = (of) => {
    let count = 0;
    for (let i = 0; i < of.length; i++) if (on_rim[i]) scratch[count++] = of[i];
    return median(scratch.subarray(0, count));
  };
  const down = linspace(height), across = linspace(width);
  const powers = [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]];  // of y and x, of each term
  const surface = new Float64Array(values.length).fill(median_on_rim(values));
  const distance = values.map((value, i) => Math.abs(value - surface[i]));
  for (const [terms, everywhere] of [[3, 0], [3, 0], [6, 1], [6, 1], [6, 1]]) {
    const most = Math.max(4 * median_on_rim(distance), 0.02);
    const normal = Array.from({ length: terms }, () => new Float64Array(terms + 1));
    for (let y = 0, i = 0; y < height; y++) {
      // A row's sums of x ** n, and of those times its values, are all that its terms need.
      let x0 = 0, x1 = 0, x2 = 0, x3 = 0, x4 = 0, v0 = 0, v1 = 0, v2 = 0;
      for (let k = 0; k < width; k++, i++) {
        if ((everywhere || on_rim[i]) && distance[i] <= most) {
          const value = values[i], x = across[k], xx = x * x;
          x0 += 1; x1 += x; x2 += xx; x3 += xx * x; x4 += xx * xx;
          v0 += value; v1 += value * x; v2 += value * xx;
        }
      }
      const of_x = [x0, x1, x2, x3, x4], of_value = [v0, v1, v2];
      const of_y = [1, down[y], down[y] ** 2, down[y] ** 3, down[y] ** 4];
      for (let a = 0; a < terms; a++) {
        const [m, n] = powers[a];
        for (let b = 0; b < terms; b++) {
          normal[a][b] += of_y[m + powers[b][0]] * of_x[n + powers[b][1]];
        }
        normal[a][terms] += of_y[m] * of_value[n];
      }
    }
    // The little that is added lets a picture one pixel wide have a solution.
    for (let a = 0; a < terms; a++) normal[a][a] += 1e-9;
    const [c, cy, cx, cyy = 0, cxy = 0, cxx = 0] = solution(normal);
    for (let j = 0, i = 0; j < height; j++) {
      const y = down[j], constant = c + cy * y + cyy * y * y, slope = cx + cxy * y;
      for (let k = 0; k < width; k++, i++) {
        surface[i] = constant + (slope + cxx * across[k]) * across[k];
        distance[i] = Math.abs(values[i] - surface[i]);
      }
    }
  }
  return surface;
}

// Otsu's threshold: above it, and up to it, levels differ the most.
function threshold(levels) {
  const counts = new Float64Array(256);
  for (let i = 0; i < levels.length; i++) counts[levels[i]] += 1;
  const total = levels.length, sum_total = sum(counts.map((count, level) => count * level));
  let best = 0, most = -1, below = 0, sum_below = 0;
  counts.forEach((count, level) => {
    below += count;
    sum_below += count * level;
    const above = total - below, sum_above = sum_total - sum_below;
    const apart = sum_below / Math.max(below, 1) - sum_above / Math.max(above, 1);
    const between = below * above * (apart * apart);
    if (between > most) [best, most] = [level, between];
  });
  return best;
}

// The mask of what is above the threshold, without the pieces that are small beside the largest.
function withoutSpecks(height, width, levels, above) {
  const pieces = [], seen = new Uint8Array(levels.length);
  for (let start = 0; start < levels.length; start++) {
    if (levels[start] <= above || seen[start]) continue;
    const piece = [start];
    let top = height, bottom = 0, left = width, right = 0;
    seen[start] = 1;
    for (let n = 0; n < piece.length; n++) {  // it grows meanwhile
      const y = Math.floor(piece[n] / width), x = piece[n] % width;
      top = Math.min(top, y); bottom = Math.max(bottom, y);
      left = Math.min(left, x); right = Math.max(right, x);
      for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, height - 1); j++) {
        for (let k = Math.max(x - 1, 0); k <= Math.min(x + 1, width - 1); k++) {
          const i = j * width + k;
          if (levels[i] > above && !seen[i]) { seen[i] = 1; piece.push(i); }
        }
      }
    }
    pieces.push({ piece, extent: Math.max(bottom - top, right - left) + 1 });
  }
  const largest = pieces.reduce((most, { extent }) => Math.max(most, extent), 0);
  const clean = new Uint8Array(levels.length);
  for (const { piece, extent } of pieces) {
    if (extent >= SPECK * largest) for (const i of piece) clean[i] = 1;
  }
  return clean;
}

// The digit without a margin, its longer side as long as the box.
function fitted(strokes) {
  const { height, width, values } = strokes;
  let top = height, bottom = 0, left = width, right = 0;
  values.forEach((value, i) => {
    if (value === 0) return;
    const y = Math.floor(i / width), x = i % width;
    top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
    left = Math.min(left, x); right = Math.max(right, x + 1);
  });
  const pen = strokeWidth(strokes), longest = Math.max(bottom - top, right - left);
  let scale = BOX / longest, wider = 0;
  if (!(THIN <= pen * scale && pen * scale <= THICK)) {
    // The strokes' middle lines are scaled, and drawn with a pen of another width.
    const new_pen = pen * scale < THIN ? OF_THIN : OF_THICK;
    scale = (BOX - new_pen) / Math.max(longest - pen, longest / 2);
    wider = new_pen - pen * scale;
  }
  const step = 1 / (FINE * scale);
  const over = (from, to, length) => {
    // Up to a rounding error, a length of 20.0 is 20 pixels.
    const size = clip(Math.ceil((to - from) * scale + Math.max(wider, 0) - 1e-9), 1, SIDE);
    return means((from + to) / 2 - size * FINE / 2 * step, step, size * FINE, length);
  };
  const over_rows = over(top, bottom, height), over_columns = over(left, right, width);
  const fine = widened(resampled(strokes, over_rows, over_columns), wider / 2 * FINE);
  const digit = blank(fine.height / FINE, fine.width / FINE);
  for (let y = 0, i = 0; y < fine.height; y++) {
    const row = Math.floor(y / FINE) * digit.width;
    for (let x = 0; x < fine.width; x++, i++) {
      digit.values[row + Math.floor(x / FINE)] += fine.values[i] / (FINE * FINE);
    }
  }
  return digit;
}

// How wide strokes are, in pixels: twice their area over their outline. Along a line in any
// direction, pixels have 4 / pi times as much outline as the line.
function strokeWidth({ height, width, mask }) {
  const at = (y, x) => (y >= 0 && y < height && x >= 0 && x < width ? mask[y * width + x] : 0);
  let outline = 0;
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      outline += (at(y, x) !== at(y - 1, x)) + (at(y, x) !== at(y, x - 1));
    }
  }
  return 2 * sum(mask) / (Math.PI / 4 * outline);
}

// The weights of the pixels that each interval takes the mean of, and the first of them.
function means(start, step, count, length) {
  return Array.from({ length: count }, (_, n) => {
    const from = start + step * n, to = from + step;
    const first = Math.max(Math.floor(from), 0), last = Math.min(Math.ceil(to), length);
    const weights = [];
    for (let i = first; i < last; i++) {
      weights.push(Math.max(Math.min(to, i + 1) - Math.max(from, i), 0) / step);
    }
    return { first, weights };
  });
}

function resampled({ width, values }, over_rows, over_columns) {
  const rows = blank(over_rows.length, width);
  over_rows.forEach(({ first, weights }, y) => weights.forEach((weight, n) => {
    for (let x = 0; x < width; x++) {
      rows.values[y * width + x] += weight * values[(first + n) * width + x];
    }
  }));
  const image = blank(over_rows.length, over_columns.length);
  for (let y = 0, i = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++, i++) {
      const { first, weights } = over_columns[x];
      for (let n = 0; n < weights.length; n++) {
        image.values[i] += weights[n] * rows.values[y * width + first + n];
      }
    }
  }
  return image;
}

// The image with ink as far around itself, or if that is negative, paper.
function widened({ height, width, values }, radius) {
  const reach = Math.floor(Math.abs(radius));
  if (reach === 0) return { height, width, values };
  const sign = Math.sign(radius);  // the least is the most of what is negative
  const wide = width + 2 * reach;
  let span = new Float64Array((height + 2 * reach) * wide);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) span[(y + reach) * wide + x + reach] = sign * values[i];
  }
  const image = { height, width, values: values.map((value) => sign * value) };
  // Disks are rows of pixels. With a span of `half` pixels to each side at hand, the next is
  // only one further: that is a tenth of the time that it takes to look at all of a disk.
  for (let half = 0; half <= reach; half++) {
    for (let dy = -reach; dy <= reach; dy++) {
      if (Math.floor(Math.sqrt(Math.floor(radius ** 2 - dy ** 2))) !== half) continue;
      for (let y = 0, i = 0; y < height; y++) {
        const row = (y + reach + dy) * wide + reach;
        for (let x = 0; x < width; x++, i++) {
          if (span[row + x] > image.values[i]) image.values[i] = span[row + x];
        }
      }
    }
    const next = new Float64Array(span.length);
    for (let i = 1; i < span.length - 1; i++) {
      next[i] = Math.max(span[i - 1], span[i], span[i + 1]);
    }
    span = next;
  }
  image.values.forEach((value, i) => { image.values[i] = sign * value; });
  return image;
}

// The frame with the digit in it, its centre of mass in the middle.
function placed(digit) {
  const { height, width, values } = digit;
  const mass_y = new Float64Array(height), mass_x = new Float64Array(width);
  values.forEach((value, i) => {
    mass_y[Math.floor(i / width)] += value;
    mass_x[i % width] += value;
  });
  const corner = (mass) => {
    const moment = sum(mass.map((value, i) => value * (i + 0.5)));
    // MNIST's are in the half-open pixel beyond the middle. A rounding error is not beyond it.
    return clip(Math.ceil(SIDE / 2 - moment / sum(mass) - 1e-9), 0, SIDE - mass.length);
  };
  const top = corner(mass_y), left = corner(mass_x);
  const image = blank(SIDE, SIDE);
  values.forEach((value, i) => {
    image.values[(top + Math.floor(i / width)) * SIDE + left + i % width] = value;
  });
  return image;
}

function sum(values) {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}

function clip(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function linspace(count) {
  return Float64Array.from({ length: count }, (_, i) =>
    (count > 1 && i === count - 1 ? 1 : -1 + i * (2 / (count - 1 || 1))));
}

// It orders the values only as far as it must: Hoare's selection, faster than a sort. The
// values change their places.
function median(values) {
  const half = values.length >> 1;
  let first = 0, last = values.length - 1;
  while (first < last) {
    const pivot = values[(first + last) >> 1];
    let i = first, j = last;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const value = values[i];
        values[i++] = values[j];
        values[j--] = value;
      }
    }
    if (half <= j) last = j;
    else if (half >= i) first = i;
    else break;
  }
  if (values.length % 2) return values[half];
  let before = values[0];
  for (let i = 1; i < half; i++) before = Math.max(before, values[i]);
  return (before + values[half]) / 2;
}

// The solution of linear equations, each a row with its right side at the end.
function solution(rows) {
  const n = rows.length;
  for (let i = 0; i < n; i++) {
    let pivot = i;
    for (let j = i + 1; j < n; j++) if (Math.abs(rows[j][i]) > Math.abs(rows[pivot][i])) pivot = j;
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    for (let j = i + 1; j < n; j++) {
      const factor = rows[j][i] / rows[i][i];
      for (let k = i; k <= n; k++) rows[j][k] -= factor * rows[i][k];
    }
  }
  const solved = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    let right = rows[i][n];
    for (let k = i + 1; k < n; k++) right -= rows[i][k] * solved[k];
    solved[i] = right / rows[i][i];
  }
  return solved;
}

// ------------------------------------------------------- views.py: what the frame is made into

const TINY = 2 ** -126;  // the least normal float32: what a sum is at least that is divided by

const VIEWS = {
  "as they are": (image) => image, "deslanted": deslant, "standardized": standardize,
  "deslanted edges": (image) => edges(deslant(image)),
  "standardized edges": (image) => edges(standardize(image)),
  "deslanted and standardized edges": (image) =>
    Float64Array.from([...edges(deslant(image)), ...edges(standardize(image))]),
};

function deslant(image) {
  const { y, slant } = moments(image);
  const shear = clip(slant, -1, 1);
  return valuesAt(image, (i, j) => [i, j + shear * y[i]]);
}

function standardize(image) {
  const { y, x, slant, height } = moments(image);
  const square = sum(image.map((value, i) =>
    value * (x[i % SIDE] - slant * y[Math.floor(i / SIDE)]) ** 2));
  const width = Math.sqrt(square / Math.max(sum(image), TINY));
  const aspect = Math.min(width / Math.max(height, TINY), 1);
  const new_height = 29 / 140 * SIDE;
  const new_width = new_height * Math.sqrt(Math.sin(Math.PI / 2 * aspect));
  const by_height = clip(height / new_height, 0.1, 4);
  const by_width = clip(width / Math.max(new_width, TINY), 0.1, 4);
  const middle = (SIDE - 1) / 2;
  return valuesAt(image, (i, j) => {
    const row = (i - middle) * by_height;
    // y and x begin at the first pixel's distance from the centre of mass.
    return [row - y[0], (j - middle) * by_width + slant * row - x[0]];
  });
}

// Where the values rise to the right, fall, rise and fall downwards: each in a quarter.
function edges(image) {
  const half = SIDE / 2, inside = (i) => i > 0 && i < SIDE - 1;
  const small = new Float64Array(image.length);
  image.forEach((_, i) => {
    const row = Math.floor(i / SIDE), column = i % SIDE;
    const right = inside(column) ? image[i + 1] - image[i - 1] : 0;
    const down = inside(row) ? image[i + SIDE] - image[i - SIDE] : 0;
    const at = Math.floor(row / 2) * SIDE + Math.floor(column / 2);
    small[at] += Math.max(right, 0) / 4;
    small[at + half] += Math.max(-right, 0) / 4;
    small[at + half * SIDE] += Math.max(down, 0) / 4;
    small[at + half * SIDE + half] += Math.max(-down, 0) / 4;
  });
  return small;
}

// Rows and columns from the centre of mass, the slant, and the deviation of the rows.
function moments(image) {
  const ink = Math.max(sum(image), TINY);
  const row = (i) => Math.floor(i / SIDE), column = (i) => i % SIDE;
  const centre = (along) => sum(image.map((value, i) => value * along(i))) / ink;
  const centre_y = centre(row), centre_x = centre(column);
  const y = Float64Array.from({ length: SIDE }, (_, i) => i - centre_y);
  const x = Float64Array.from({ length: SIDE }, (_, i) => i - centre_x);
  const covariance = sum(image.map((value, i) => value * y[row(i)] * x[column(i)]));
  const variance = sum(image.map((value, i) => value * y[row(i)] ** 2));
  return { y, x, slant: covariance / Math.max(variance, TINY), height: Math.sqrt(variance / ink) };
}

// The values at positions between pixels, 0 outside: interpolated bilinearly.
function valuesAt(image, position) {
  const at = (y, x) => (y >= 0 && y < SIDE && x >= 0 && x < SIDE ? image[y * SIDE + x] : 0);
  return image.map((_, i) => {
    const [row, column] = position(Math.floor(i / SIDE), i % SIDE).map((p) => clip(p, -1, SIDE));
    const top = Math.floor(row), left = Math.floor(column);
    const below = row - top, right = column - left;
    return at(top, left) * (1 - below) * (1 - right) + at(top, left + 1) * (1 - below) * right +
      at(top + 1, left) * below * (1 - right) + at(top + 1, left + 1) * below * right;
  });
}

// ------------------------------------- network.py, committees.py: what the networks make of it

const ACTIVATION_FUNCTIONS = {
  relu: (z) => Math.max(z, 0),
  tanh: Math.tanh,
  sigmoid: (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z))),
};

const { g, members } = decoded(JSON.parse(document.getElementById("network").textContent));

function decoded({ g, members }) {
  const numbers = (base64, bytes, read) => {
    const view = new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
    // Little-endian whatever the machine is, and in the type that a loop over them is fast in.
    return Float32Array.from({ length: view.byteLength / bytes }, (_, i) => read(view, i * bytes));
  };
  const float32s = (base64) => numbers(base64, 4, (view, at) => view.getFloat32(at, true));
  const int16s = (base64) => numbers(base64, 2, (view, at) => view.getInt16(at, true));
  return {
    g: ACTIVATION_FUNCTIONS[g],
    members: members.map(({ view, W1, scales, b1, W2, b2 }) => ({
      view, W1: int16s(W1), scales: float32s(scales), b1: float32s(b1), W2: float32s(W2),
      b2: float32s(b2),
    })),
  };
}

// The mean of the members' probabilities.
function predict(image) {
  if (image.length !== SIDE ** 2) {
    throw new RangeError(`A frame has ${SIDE ** 2} pixels, but this has ${image.length}.`);
  }
  const mean = new Array(10).fill(0);
  for (const member of members) {
    const A2 = forward(member, VIEWS[member.view](Float64Array.from(image)));
    A2.forEach((probability, digit) => { mean[digit] += probability / members.length; });
  }
  return mean;
}

function forward({ W1, scales, b1, W2, b2 }, x) {
  const hidden = b1.length, Z1 = new Float64Array(hidden);
  for (let pixel = 0; pixel < x.length; pixel++) {
    if (x[pixel] === 0) continue;  // most of a frame is paper
    for (let i = 0, at = pixel * hidden; i < hidden; i++, at++) Z1[i] += W1[at] * x[pixel];
  }
  const A1 = Z1.map((z, i) => g(z * scales[i] + b1[i]));
  const Z2 = Array.from(b2, (b, digit) =>
    b + sum(A1.map((a, i) => a * W2[digit * hidden + i])));
  const most = Math.max(...Z2), E = Z2.map((z) => Math.exp(z - most)), total = sum(E);
  return E.map((e) => e / total);
}

// --------------------------------------------------------------------- the paper and the answer

const PEN = 38;  // of the paper's 560 pixels: about as wide as MNIST's strokes
const MOST_PIXELS = 2 ** 24;  // phones refuse a canvas that is larger
const NOTHING = "Draw a digit from 0 to 9, or open, drop or paste a picture of one.";

const element = (id) => document.getElementById(id);
const canvas = element("paper");
const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });

// What is on the paper, and what was before: a sheet has strokes, or a picture with its answer.
const sheets = [{ strokes: [], picture: null }];
let stroke = null;  // the one that is being drawn: {pointer, points}
let answer = null;  // {image, probabilities} of what is on the paper
let due = false;

function current() {
  const sheet = sheets.at(-1);
  // One draws on new paper, and not on the picture, which has a size and a ground of its own.
  return stroke ? { strokes: [...sheet.strokes, stroke.points], picture: null } : sheet;
}

// The answer to a picture, or what is the matter with it.
function read(width, height, rgba) {
  try {
    const image = frame(width, height, rgba);
    return { image, probabilities: predict(image) };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { problem: `${error.message} Draw a digit, or open another picture.` };
  }
}

function refresh() {
  due = false;
  const { strokes, picture } = current();
  paint(strokes, picture);
  if (picture) show(picture.answer);
  else if (strokes.length === 0) show({ problem: NOTHING });
  else {
    const { width, height } = canvas;
    show(read(width, height, context.getImageData(0, 0, width, height).data));
  }
}

function soon() {
  if (!due) requestAnimationFrame(() => { if (due) refresh(); });
  due = true;
}

// Add a sheet, or take the last one away, and say what there is to be read now.
function turn(change) {
  stroke = null;
  change(sheets);
  refresh();
  element("status").textContent = element("says").textContent;
}

const isBlank = ({ strokes, picture }) => strokes.length === 0 && !picture;
const undo = () => turn(() => { if (sheets.length > 1) sheets.pop(); });
const clear = () => turn(() => {
  if (!isBlank(sheets.at(-1))) sheets.push({ strokes: [], picture: null });
});

function paint(strokes, picture) {
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (picture?.bitmap) {
    const { width, height } = picture.bitmap;
    const scale = Math.min(canvas.width / width, canvas.height / height);
    const left = (canvas.width - width * scale) / 2, top = (canvas.height - height * scale) / 2;
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(picture.bitmap, left, top, width * scale, height * scale);
  }
  Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  context.strokeStyle = "#16161a";
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(...points[0]);
    // Through the middles between points, a curve has no corners.
    for (let i = 1; i < points.length - 1; i++) {
      const [[x, y], [next_x, next_y]] = [points[i], points[i + 1]];
      context.quadraticCurveTo(x, y, (x + next_x) / 2, (y + next_y) / 2);
    }
    const [x, y] = points.at(-1);
    context.lineTo(x + (points.length === 1 ? 0.01 : 0), y);  // a dot of no length is not drawn
    context.stroke();
  }
}

function show({ image, probabilities, problem = "" }) {
  answer = image ? { image, probabilities } : null;
  const digits = [...Array(10).keys()];
  const [first, second] = answer ? digits.sort((a, b) => probabilities[b] - probabilities[a]) : [];
  [...element("bars").children].forEach((bar, digit) => {
    bar.classList.toggle("first", answer !== null && digit === first);
    bar.children[1].style.setProperty("--share", answer ? probabilities[digit] : 0);
    bar.children[2].textContent = answer ? percent(probabilities[digit]) : "\u2013";
  });
  element("digit").textContent = answer ? first : "?";
  element("digit").classList.toggle("none", !answer);
  element("says").textContent = answer ? said(first, second, probabilities) : problem;
  for (const shown of element("frames").querySelectorAll("canvas")) {
    pixels(shown, VIEWS[shown.dataset.view](answer ? image : new Float64Array(SIDE ** 2)));
  }
  element("undo").setAttribute("aria-disabled", sheets.length === 1 && !stroke);
  element("clear").setAttribute("aria-disabled", isBlank(current()));
}

function said(first, second, probabilities) {
  const named = (digit) => (digit === 8 ? "an 8" : `a ${digit}`);
  const [p, q] = [first, second].map((digit) => percent(probabilities[digit]));
  if (probabilities[first] >= 0.9) return `This is ${named(first)}, with a probability of ${p}.`;
  return `Perhaps ${named(first)} (${p}), perhaps ${named(second)} (${q}).`;
}

const percent = (probability) => `${(100 * probability).toFixed(1)}\u00a0%`;

function pixels(shown, image) {
  const data = new ImageData(SIDE, image.length / SIDE);
  image.forEach((value, i) => data.data.set([0, 1, 2].map(() => rounded(255 * value)), 4 * i));
  for (let i = 3; i < data.data.length; i += 4) data.data[i] = 255;
  shown.getContext("2d").putImageData(data, 0, 0);
}

// A picture is read at its own size, whatever the size that it is shown in.
async function open(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    const problem = `“${file.name}” is no picture that this browser can read. ` +
      "Open a PNG or JPEG file, or draw a digit.";
    turn(() => sheets.push({ strokes: [], picture: { bitmap: null, answer: { problem } } }));
    return;
  }
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const own = document.createElement("canvas");
  own.width = Math.max(1, Math.floor(bitmap.width * scale));
  own.height = Math.max(1, Math.floor(bitmap.height * scale));
  const of_own = own.getContext("2d", { willReadFrequently: true });
  of_own.drawImage(bitmap, 0, 0, own.width, own.height);
  const { data } = of_own.getImageData(0, 0, own.width, own.height);
  const picture = { bitmap, answer: read(own.width, own.height, data) };
  turn(() => sheets.push({ strokes: [], picture }));
}

// ------------------------------------------------------------------------- what the hand does

function pointOf(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [
    (event.clientX - left) * canvas.width / width, (event.clientY - top) * canvas.height / height,
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  if (stroke || event.button !== 0) return;  // a second finger, or another button
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  stroke = { pointer: event.pointerId, points: [pointOf(event)] };
  soon();
});
canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== stroke?.pointer) return;
  // Browsers put several positions into one event, of which a quick hand needs them all.
  const events = event.getCoalescedEvents?.() ?? [];
  stroke.points.push(...(events.length ? events : [event]).map(pointOf));
  soon();
});
for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(end, (event) => {
    if (event.pointerId !== stroke?.pointer) return;
    const sheet = current();
    turn(() => sheets.push(sheet));
  });
}

element("undo").addEventListener("click", undo);
element("clear").addEventListener("click", clear);
document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && key === "z" && !event.shiftKey && !event.altKey) undo();
  else if (!command && (key === "escape" || key === "delete")) clear();
  else return;
  event.preventDefault();
});

element("file").addEventListener("change", ({ target }) => {
  for (const file of target.files) open(file);
  target.value = "";  // so that the same file can be opened again
});
document.addEventListener("paste", ({ clipboardData }) => {
  for (const file of clipboardData.files) open(file);
});
for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();  // or else the browser would leave the page and show the file
    document.body.classList.toggle("over", over);
    if (kind === "drop") for (const file of event.dataTransfer.files) open(file);
  });
}

// --------------------------------------------------------------------- what the page begins with

for (let digit = 0; digit < 10; digit++) {
  const bar = document.createElement("li");
  bar.append(...["b", "i", "span"].map((name) => document.createElement(name)));
  bar.children[0].textContent = digit;
  bar.children[1].setAttribute("aria-hidden", "true");
  element("bars").append(bar);
}
const views = [...new Set(members.map(({ view }) => view))];
for (const view of views) {
  const figure = document.createElement("figure");
  const height = VIEWS[view](new Float64Array(SIDE ** 2)).length / SIDE;
  const shown = Object.assign(document.createElement("canvas"), { width: SIDE, height });
  const made = view === "as they are" ? "" : `, ${view}`;
  shown.dataset.view = view;
  shown.setAttribute("role", "img");
  const says = `What the network sees: the digit in 28 by ${height} pixels${made}`;
  shown.setAttribute("aria-label", says);
  const caption = document.createElement("figcaption");
  caption.textContent = `What the network sees:\n28 \u00d7 ${height} pixels${made}`;
  figure.append(shown, caption);
  element("frames").append(figure);
}
turn(() => {});

window.mnist_fn = Object.freeze({ frame, predict, views: VIEWS, answer: () => answer });

})();
"""

PAGE: str = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; base-uri 'none';
 form-action 'none'; img-src data: blob:; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="Draw a digit, and a neural network in this page reads it.">
<link rel="icon" href="data:,">
<title>Draw a digit: mnist_fn, {{sizes}}</title>
<style>{{style}}</style>
</head>
<body>
<header>
<h1>Draw a digit</h1>
<p>With mouse, pen or finger. A small neural network reads it while you draw.</p>
</header>
<noscript><p>This page needs JavaScript, which is switched off: please allow it.</p></noscript>
<main>
<section class="sheet" aria-label="Paper">
<canvas id="paper" width="560" height="560" role="img"
 aria-label="Paper, to draw a digit on with mouse, pen or finger"></canvas>
<div class="tools">
<button id="undo" type="button" aria-keyshortcuts="Control+Z Meta+Z">Undo</button>
<button id="clear" type="button" aria-keyshortcuts="Escape Delete">Clear</button>
<label class="open">Open a picture
<input id="file" class="unseen" type="file" accept="image/*"></label>
</div>
</section>
<section class="answer" aria-label="Answer">
<div class="reading" aria-hidden="true"><p id="digit"></p><p id="says"></p></div>
<p id="status" class="unseen" role="status" aria-live="polite"></p>
<ol id="bars" role="list" aria-label="How probable each digit is"></ol>
<div id="frames"></div>
</section>
<p class="keys"><kbd>Ctrl</kbd> <kbd>Z</kbd> undoes, <kbd>Esc</kbd> or <kbd>Delete</kbd> clears.
A picture of a digit can also be dropped on this page, or pasted.</p>
</main>
<footer>Made by <b>mnist_fn</b>: {{about}}. All of it is in this file; what you draw stays with you.
</footer>
<script id="network" type="application/json">{{network}}</script>
<script>{{script}}</script>
</body>
</html>
"""
