// The book's interactive explorer: points of many nets in a plane.
//
// nwslib/explorer.py packs the points into the page; this script finds them, draws
// them on a canvas and makes the controls. Points knows what was measured, Plot
// what is seen, Explorer what is done with it. Nothing of the data becomes markup:
// texts are set as text only.
(() => {
  "use strict";

  const ROUNDED = 65534; // the highest code of a position
  const BANDS = 32; // colours of a scale of numbers
  const SIZES = 4; // sizes of points along a path
  const HIDDEN = 0, SHOWN = 1, MUTED = 2; // how a point is drawn
  // Viridis at nine equal steps (CC0, from matplotlib).
  const VIRIDIS = [
    "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c",
    "#28ae80", "#5ec962", "#addc30", "#fde725",
  ];

  // --- the points ------------------------------------------------------------

  function unpacked(text, type) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    if (type === "u1") return bytes;
    const view = new DataView(bytes.buffer);
    const codes = new Uint16Array(bytes.length / 2);
    for (let i = 0; i < codes.length; i++) codes[i] = view.getUint16(2 * i, true);
    return codes;
  }

  function numeral(value, whole) {
    if (whole) return String(Math.round(value));
    return String(Number(value.toPrecision(3)));
  }

  // One column of the table; rows are points.
  class Column {
    constructor(packed, runOf) {
      Object.assign(this, packed);
      this.perRun = packed["per run"];
      this.codes = unpacked(packed.codes, packed.type);
      this.missing = packed.type === "u1" ? 255 : 65535;
      this.runOf = runOf;
      const given = this.codes.filter((code) => code !== this.missing).sort();
      // Ends of the scale of colours: a few outliers do not take all of them.
      this.low = given[Math.floor(0.02 * (given.length - 1))] ?? 0;
      this.high = given[Math.ceil(0.98 * (given.length - 1))] ?? 0;
      this.beyond = [given[0] < this.low, given[given.length - 1] > this.high];
    }

    // Where a code is between the ends, 0..1.
    share(code) {
      return clamp((code - this.low) / (this.high - this.low || 1), 0, 1);
    }

    code(row) {
      return this.codes[this.perRun ? this.runOf[row] : row];
    }

    number(code) {
      const value = this.offset + this.scale * code;
      return this.log ? Math.exp(value) : value;
    }

    text(row) {
      const code = this.code(row);
      if (code === this.missing) return "not known";
      if (this.kind === "categories") return this.labels[code];
      return numeral(this.number(code), this.whole);
    }
  }

  // Cells of a plane with the rows in each, to find the point under a pointer.
  class Grid {
    constructor(x, y) {
      this.side = Math.min(128, Math.max(8, Math.ceil(Math.sqrt(x.length / 4))));
      this.starts = new Int32Array(this.side * this.side + 1);
      this.rows = new Int32Array(x.length);
      const cells = new Int32Array(x.length);
      for (let i = 0; i < x.length; i++) {
        cells[i] = this.band(y[i]) * this.side + this.band(x[i]);
        this.starts[cells[i] + 1]++;
      }
      for (let c = 1; c < this.starts.length; c++) this.starts[c] += this.starts[c - 1];
      const next = this.starts.slice(0, -1);
      for (let i = 0; i < x.length; i++) this.rows[next[cells[i]]++] = i;
    }

    band(at) {
      return Math.min(this.side - 1, Math.max(0, Math.floor(at * this.side)));
    }

    // Calls back with every row in the cells that a square touches.
    near(x, y, reach, found) {
      const left = this.band(x - reach), right = this.band(x + reach);
      for (let r = this.band(y - reach); r <= this.band(y + reach); r++) {
        const first = this.starts[r * this.side + left];
        const last = this.starts[r * this.side + right + 1];
        for (let k = first; k < last; k++) found(this.rows[k]);
      }
    }
  }

  class Points {
    constructor(packed) {
      this.runs = packed.runs;
      this.starts = Int32Array.from(packed.starts);
      this.n = this.starts[this.runs.length];
      this.paths = packed.paths;
      this.runOf = new Int32Array(this.n);
      for (let run = 0; run < this.runs.length; run++) {
        this.runOf.fill(run, this.starts[run], this.starts[run + 1]);
      }
      this.columns = packed.columns.map((column) => new Column(column, this.runOf));
      this.planes = packed.planes.map((plane) => this.plane(plane));
      this.number();
    }

    // Positions of 0..1, downwards as on a screen.
    plane(packed) {
      const codes = unpacked(packed.at, "u2");
      const x = new Float32Array(this.n), y = new Float32Array(this.n);
      let width = 0, height = 0;
      for (let i = 0; i < this.n; i++) {
        x[i] = codes[2 * i] / ROUNDED;
        y[i] = codes[2 * i + 1] / ROUNDED;
        width = Math.max(width, x[i]);
        height = Math.max(height, y[i]);
      }
      for (let i = 0; i < this.n; i++) y[i] = height - y[i];
      return { name: packed.name, x, y, width, height, grid: new Grid(x, y) };
    }

    // The steps in order, and each row's place among them.
    number() {
      const [step] = this.columns;
      const codes = Array.from({ length: this.n }, (_, row) => step.code(row));
      const used = [...new Set(codes)].sort((a, b) => a - b);
      const place = new Map(used.map((code, k) => [code, k]));
      this.steps = used.map((code) => numeral(step.number(code), true));
      this.stepOf = Uint16Array.from(codes, (code) => place.get(code));
    }

    // A run's last row up to a step, or its first.
    rowAt(run, step) {
      let row = this.starts[run];
      while (row + 1 < this.starts[run + 1] && this.stepOf[row + 1] <= step) row++;
      return row;
    }
  }

  // --- colours ---------------------------------------------------------------

  function rgb(hex) {
    const whole = parseInt(hex.slice(1), 16);
    return [whole >> 16, (whole >> 8) & 255, whole & 255];
  }

  function mix(a, b, share) {
    return a.map((part, i) => part + share * (b[i] - part));
  }

  function css(colour) {
    return `rgb(${colour.map(Math.round).join(" ")})`;
  }

  // A colour as the raster takes it: 0xbbggrr.
  function pixel(colour) {
    const [r, g, b] = colour.map(Math.round);
    return r | (g << 8) | (b << 16);
  }

  // Relative luminance, as WCAG 2 has it.
  function luminance(colour) {
    const [r, g, b] = colour.map((part) => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrast(a, b) {
    const [low, high] = [luminance(a), luminance(b)].sort((p, q) => p - q);
    return (high + 0.05) / (low + 0.05);
  }

  // The colour, as much lighter or darker as 2:1 against the paper needs. On white
  // that leaves the figures' palette as it is; 3:1 would make two of its colours
  // one for readers without red or green cones.
  function legible(colour, paper) {
    const end = luminance(paper) < 0.2 ? [255, 255, 255] : [0, 0, 0];
    let share = 0;
    while (share < 1 && contrast(mix(colour, end, share), paper) < 2) share += 0.05;
    return mix(colour, end, share);
  }

  // Viridis without the end that the paper swallows.
  function scale(paper) {
    const [from, to] = luminance(paper) < 0.2 ? [0.3, 1] : [0, 0.8];
    return Array.from({ length: BANDS }, (_, band) => {
      const at = (from + ((to - from) * band) / (BANDS - 1)) * (VIRIDIS.length - 1);
      const k = Math.min(VIRIDIS.length - 2, Math.floor(at));
      return mix(rgb(VIRIDIS[k]), rgb(VIRIDIS[k + 1]), at - k);
    });
  }

  // --- the canvas ------------------------------------------------------------

  // Pixels, written here: a canvas takes ten times as long to draw thousands of
  // points and lines where no graphics card helps it.
  class Raster {
    constructor(width, height) {
      this.image = new ImageData(width, height);
      this.width = width;
      this.height = height;
      this.pixels = new Uint32Array(this.image.data.buffer); // 0xaabbggrr
      this.stamps = new Map();
    }

    // Shares of pixels that a disc of this radius covers, as [side, alphas].
    stamp(radius) {
      const key = Math.round(radius * 8);
      if (!this.stamps.has(key)) {
        const side = 2 * Math.ceil(radius) + 1, middle = (side - 1) / 2;
        const alphas = Uint8Array.from({ length: side * side }, (_, k) => {
          const far = Math.hypot((k % side) - middle, Math.floor(k / side) - middle);
          return Math.round(256 * clamp(key / 8 + 0.5 - far, 0, 255 / 256));
        });
        this.stamps.set(key, [side, alphas]);
      }
      return this.stamps.get(key);
    }

    blend(at, colour, alpha) {
      const under = this.pixels[at], rest = 256 - alpha;
      const rb = ((under & 0xff00ff) * rest + (colour & 0xff00ff) * alpha) >>> 8;
      const g = ((under & 0xff00) * rest + (colour & 0xff00) * alpha) >>> 8;
      this.pixels[at] = 0xff000000 | (rb & 0xff00ff) | (g & 0xff00);
    }

    // A disc around (x, y), at whole pixels; opacity is 0..1.
    dot([side, alphas], x, y, colour, opacity) {
      const { width, height } = this, half = side / 2;
      const left = Math.round(x - half), top = Math.round(y - half);
      if (left <= -side || top <= -side || left >= width || top >= height) return;
      const fromX = Math.max(0, -left), toX = Math.min(side, width - left);
      const fromY = Math.max(0, -top), toY = Math.min(side, height - top);
      const strength = Math.round(256 * opacity);
      for (let v = fromY; v < toY; v++) {
        const row = (top + v) * width + left;
        for (let u = fromX; u < toX; u++) {
          const alpha = (alphas[v * side + u] * strength) >> 8;
          if (alpha) this.blend(row + u, colour, alpha);
        }
      }
    }

    // A line, a pixel column (or row, where it is steep) at a time.
    line(ax, ay, bx, by, colour, opacity, thick) {
      const steep = Math.abs(by - ay) > Math.abs(bx - ax);
      if (steep) [ax, ay, bx, by] = [ay, ax, by, bx];
      if (ax > bx) [ax, ay, bx, by] = [bx, by, ax, ay];
      const slope = bx > ax ? (by - ay) / (bx - ax) : 0;
      const half = (thick / 2) * Math.hypot(1, slope);
      const [along, across] = steep ? [this.height, this.width] : [this.width, this.height];
      const [stepU, stepV] = steep ? [this.width, 1] : [1, this.width];
      const first = Math.max(0, Math.ceil(ax - 0.5));
      const last = Math.min(along, Math.ceil(bx - 0.5));
      for (let u = first; u < last; u++) {
        const middle = ay + slope * (u + 0.5 - ax);
        const low = middle - half, high = middle + half;
        const end = Math.min(across - 1, Math.floor(high));
        for (let v = Math.max(0, Math.floor(low)); v <= end; v++) {
          const share = Math.min(v + 1, high) - Math.max(v, low);
          const alpha = Math.round(255 * opacity * share);
          if (alpha) this.blend(u * stepU + v * stepV, colour, alpha);
        }
      }
    }
  }

  const still = matchMedia("(prefers-reduced-motion: reduce)");

  function clamp(value, low, high) {
    return Math.min(high, Math.max(low, value));
  }

  class Plot {
    constructor(canvas, points) {
      this.canvas = canvas;
      this.ctx = canvas.getContext("2d", { alpha: false });
      this.points = points;
      this.plane = points.planes[0];
      this.x = this.plane.x; // where the points are drawn now
      this.y = this.plane.y;
      this.view = this.whole();
      this.width = this.height = 0;
      this.mode = new Uint8Array(points.n).fill(SHOWN);
      this.colourOf = new Uint8Array(points.n);
      this.time = points.steps.length; // a step, between two, or all
      this.run = this.row = this.hovered = -1;
      const last = Math.max(1, points.steps.length - 1);
      this.sizeOf = Uint8Array.from(points.stepOf, (step) =>
        Math.round(((SIZES - 1) * step) / last));
    }

    // What is in the middle, and how much larger than the whole plane.
    whole() {
      return { x: this.plane.width / 2, y: this.plane.height / 2, zoom: 1 };
    }

    resize() {
      const box = this.canvas.getBoundingClientRect();
      if (!box.width || !box.height) return;
      this.width = box.width;
      this.height = box.height;
      this.dpr = Math.min(2, window.devicePixelRatio || 1);
      this.canvas.width = Math.round(box.width * this.dpr);
      this.canvas.height = Math.round(box.height * this.dpr);
      this.raster = new Raster(this.canvas.width, this.canvas.height);
      this.schedule();
    }

    // Pixels of the page for the plane's unit.
    unit(zoom = this.view.zoom) {
      const margin = Math.min(36, this.width * 0.06);
      const fit = Math.min(
        (this.width - 2 * margin) / (this.plane.width || 1),
        (this.height - 2 * margin) / (this.plane.height || 1),
      );
      return fit * zoom;
    }

    // Where a row is on the canvas, in pixels of the page.
    place(row) {
      const unit = this.unit();
      return [
        this.width / 2 + (this.x[row] - this.view.x) * unit,
        this.height / 2 + (this.y[row] - this.view.y) * unit,
      ];
    }

    // The row nearest to a place on the canvas, within reach; -1 if none is.
    find(px, py, reach) {
      const unit = this.unit();
      const x = this.view.x + (px - this.width / 2) / unit;
      const y = this.view.y + (py - this.height / 2) / unit;
      let best = -1, least = (reach / unit) ** 2;
      this.plane.grid.near(x, y, reach / unit, (row) => {
        if (this.mode[row] === HIDDEN) return;
        const d = (this.x[row] - x) ** 2 + (this.y[row] - y) ** 2;
        if (d <= least) [best, least] = [row, d];
      });
      return best;
    }

    // --- moving

    look(view) {
      this.view = {
        zoom: clamp(view.zoom, 1, 400),
        x: clamp(view.x, 0, this.plane.width),
        y: clamp(view.y, 0, this.plane.height),
      };
      this.moved?.(this.view.zoom);
      this.schedule();
    }

    pan(dx, dy, smooth) {
      const { x, y, zoom } = this.goal || this.view, unit = this.unit(zoom);
      this.go({ zoom, x: x - dx / unit, y: y - dy / unit }, smooth);
    }

    // Larger or smaller, with what is at a place on the canvas staying there.
    zoom(factor, at, smooth) {
      const [px, py] = at || [this.width / 2, this.height / 2];
      const { x, y, zoom } = this.goal || this.view;
      const to = clamp(zoom * factor, 1, 400);
      const kept = 1 / this.unit(zoom) - 1 / this.unit(to);
      this.go({
        zoom: to,
        x: x + (px - this.width / 2) * kept,
        y: y + (py - this.height / 2) * kept,
      }, smooth);
    }

    go(view, smooth) {
      this.goal = null;
      if (!smooth) return this.look(view);
      const from = this.view;
      this.goal = view;
      this.animate("view", 180, (share) => {
        if (this.goal !== view) return;
        this.look({
          zoom: from.zoom * (view.zoom / from.zoom) ** share,
          x: from.x + share * (view.x - from.x),
          y: from.y + share * (view.y - from.y),
        });
        if (share === 1) this.goal = null;
      });
    }

    // Another plane: every point wanders to its new place.
    turn(plane) {
      const { x: fromX, y: fromY } = this;
      this.plane = plane;
      const x = new Float32Array(fromX), y = new Float32Array(fromY);
      this.x = x;
      this.y = y;
      this.go(this.whole());
      this.animate("plane", 700, (share) => {
        if (this.plane !== plane) return;
        for (let i = 0; i < x.length; i++) {
          x[i] = fromX[i] + share * (plane.x[i] - fromX[i]);
          y[i] = fromY[i] + share * (plane.y[i] - fromY[i]);
        }
        this.schedule();
      });
    }

    // Calls back with 0..1, easing; at once with 1 where motion is not wanted.
    animate(name, duration, each) {
      this.tickets ??= {};
      const ticket = (this.tickets[name] = {});
      if (still.matches) return each(1);
      const start = performance.now();
      const tick = (now) => {
        if (this.tickets[name] !== ticket) return;
        const t = clamp((now - start) / duration, 0, 1);
        each(1 - (1 - t) ** 3);
        if (t < 1) requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }

    // --- drawing

    schedule() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        if (this.width) this.draw();
      });
    }

    // Colours are [r, g, b]; the last one is that of missing values.
    dress(theme, colours) {
      this.theme = theme;
      this.colours = colours.map(css);
      this.inks = colours.map(pixel);
      this.schedule();
    }

    // Radius of a path's last points, in pixels of the page.
    radius() {
      const room = Math.sqrt((this.width * this.height) / this.points.n);
      return clamp(0.34 * room, 1.7, 4) * Math.min(2.2, this.view.zoom ** 0.3);
    }

    draw() {
      const { ctx, points, raster, theme } = this;
      raster.pixels.fill(0xff000000 | theme.paperInk);
      if (this.filtered) this.dots(HIDDEN, 0.08);
      else if (this.time < points.steps.length) this.dots(HIDDEN, points.paths ? 0.1 : 0.16);
      if (points.paths) this.lines(MUTED, 0.12);
      this.dots(MUTED, 0.16);
      if (points.paths) this.lines(SHOWN, points.runs.length > 60 ? 0.4 : 0.6);
      this.dots(SHOWN, 1);
      if (points.paths) this.ends();
      ctx.putImageData(raster.image, 0, 0);
      ctx.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
      if (this.run >= 0) this.picked();
      if (this.hovered >= 0) this.ring(this.hovered, 3, 1.5);
    }

    // From the plane to the canvas' own pixels: times unit, plus left and top.
    frame() {
      const unit = this.unit() * this.dpr;
      const left = this.canvas.width / 2 - this.view.x * unit;
      return [unit, left, this.canvas.height / 2 - this.view.y * unit];
    }

    // Points; they grow and darken along their path.
    dots(mode, opacity) {
      const { points, raster, x, y, colourOf, sizeOf } = this;
      const [unit, left, top] = this.frame();
      const nothing = this.inks[this.inks.length - 1];
      const stamps = [], strengths = [];
      for (let size = 0; size < SIZES; size++) {
        const share = points.paths ? size / (SIZES - 1) : 1;
        stamps.push(raster.stamp(this.radius() * this.dpr * (0.6 + 0.4 * share)));
        strengths.push(opacity * (0.5 + 0.45 * share));
      }
      for (let i = 0; i < x.length; i++) {
        if (this.mode[i] !== mode) continue;
        const ink = mode === HIDDEN ? nothing : this.inks[colourOf[i]];
        raster.dot(stamps[sizeOf[i]], x[i] * unit + left, y[i] * unit + top, ink,
          strengths[sizeOf[i]]);
      }
    }

    lines(mode, opacity) {
      const { points, raster, x, y } = this;
      const [unit, left, top] = this.frame();
      const { width: right, height: bottom } = raster;
      const slack = Math.min(2.5, this.view.zoom ** 0.3);
      const thick = (points.runs.length > 60 ? 0.6 : 0.9) * this.dpr * slack;
      const strength = Math.min(0.7, opacity * slack);
      for (let run = 0; run < points.runs.length; run++) {
        const ink = this.strands ? this.inks[this.colourOf[points.starts[run]]]
          : this.inks[this.inks.length - 1];
        const end = points.starts[run + 1];
        for (let i = points.starts[run] + 1; i < end; i++) {
          if (this.mode[i] !== mode || this.mode[i - 1] !== mode) continue;
          const ax = x[i - 1] * unit + left, ay = y[i - 1] * unit + top;
          const bx = x[i] * unit + left, by = y[i] * unit + top;
          if ((ax < 0 && bx < 0) || (ay < 0 && by < 0) ||
              (ax > right && bx > right) || (ay > bottom && by > bottom)) continue;
          raster.line(ax, ay, bx, by, ink, strength, thick);
        }
      }
    }

    // Where a run is now: at a step, or on its way to the next.
    head(run) {
      const row = this.points.rowAt(run, Math.floor(this.time));
      const [x, y] = this.place(row), ahead = this.time - this.points.stepOf[row];
      if (ahead <= 0 || ahead >= 1 || row + 1 >= this.points.starts[run + 1]) {
        return [x, y, row];
      }
      const [nextX, nextY] = this.place(row + 1);
      return [x + ahead * (nextX - x), y + ahead * (nextY - y), row];
    }

    // First points as rings, the last ones (or those of the step) as discs.
    ends() {
      const { points, raster, dpr, inks, colourOf } = this;
      const paper = this.theme.paperInk, radius = this.radius() * dpr;
      const [ring, hole, edge, disc] = [1.2, 0.75, 1.85, 1.4].map((times) =>
        raster.stamp(times * radius));
      for (let run = 0; run < points.runs.length; run++) {
        const first = points.starts[run];
        if (this.mode[first] !== SHOWN || run === this.run) continue;
        const [x, y, row] = this.head(run), [startX, startY] = this.place(first);
        raster.dot(ring, startX * dpr, startY * dpr, inks[colourOf[first]], 1);
        raster.dot(hole, startX * dpr, startY * dpr, paper, 1);
        raster.dot(edge, x * dpr, y * dpr, paper, 0.8);
        raster.dot(disc, x * dpr, y * dpr, inks[colourOf[row]], 1);
      }
    }

    disc(x, y, radius, fill, line, width) {
      const { ctx } = this;
      ctx.beginPath();
      ctx.arc(x, y, radius, 0, 2 * Math.PI);
      ctx.fillStyle = fill;
      ctx.fill();
      ctx.strokeStyle = line;
      ctx.lineWidth = width;
      ctx.stroke();
    }

    picked() {
      const { ctx, points, theme, run } = this;
      const first = points.starts[run];
      const [x, y] = this.head(run);
      const rows = [];
      for (let row = first; row < points.starts[run + 1]; row++) {
        if (!points.paths || points.stepOf[row] <= this.time) rows.push(row);
      }
      ctx.beginPath();
      for (const row of rows) ctx.lineTo(...this.place(row));
      if (points.paths) ctx.lineTo(x, y);
      ctx.lineJoin = ctx.lineCap = "round";
      for (const [colour, width] of [[theme.paper, 5], [theme.ink, 1.8]]) {
        ctx.strokeStyle = colour;
        ctx.lineWidth = width;
        ctx.stroke();
      }
      const radius = Math.max(3, this.radius() * 1.1);
      for (const row of rows.slice(1)) {
        const fill = this.colours[this.colourOf[row]];
        this.disc(...this.place(row), radius, fill, theme.paper, 1);
      }
      const start = this.colours[this.colourOf[first]];
      this.disc(...this.place(first), radius + 0.5, theme.paper, start, 2.2);
      if (points.paths && this.time < points.steps.length) {
        this.disc(x, y, radius + 2.5, start, theme.ink, 2);
      } else if (this.row >= 0) {
        this.ring(this.row, 4.5, 2);
      }
    }

    ring(row, gap, width) {
      const { ctx } = this;
      ctx.beginPath();
      ctx.arc(...this.place(row), this.radius() + gap, 0, 2 * Math.PI);
      ctx.strokeStyle = this.theme.ink;
      ctx.lineWidth = width;
      ctx.stroke();
    }
  }

  // --- the controls ----------------------------------------------------------

  let explorers = 0; // on this page, to tell their labels apart

  // An element; texts are text, never markup.
  function element(name, attributes = {}, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== false) made.setAttribute(key, value);
    }
    made.append(...inside);
    return made;
  }

  const KEYS = [
    ["arrows", "move"],
    ["+ and -", "larger, smaller"],
    ["0", "the whole plane"],
    ["n and p", "next and previous net"],
    [", and .", "one step back, forth"],
    ["Escape", "nothing picked"],
  ];

  class Explorer {
    constructor(root, packed) {
      this.root = root;
      this.name = `nws-explorer-${++explorers}`;
      this.points = new Points(packed);
      this.palette = packed.palette.map(rgb);
      this.column = packed.colour === null ? null : this.points.columns[packed.colour];
      this.only = new Set(); // categories kept in colour; empty: all
      this.build(packed.title);
      this.plot = new Plot(this.canvas, this.points);
      this.plot.moved = (zoom) => {
        // At full size a finger moves the page; once zoomed in, the plane.
        this.canvas.style.touchAction = zoom > 1.01 ? "none" : "pan-y";
        for (const button of [this.shrink, this.fit]) {
          button.setAttribute("aria-disabled", zoom < 1.001); // keeps its focus
        }
        this.hover(-1);
      };
      this.listen();
      this.dress();
      this.tell();
      this.plot.look(this.plot.whole());
      new ResizeObserver(() => this.plot.resize()).observe(this.canvas);
      new MutationObserver(() => this.dress()).observe(document.documentElement, {
        attributes: true, attributeFilter: ["data-theme", "class", "style"],
      });
      matchMedia("(prefers-color-scheme: dark)")
        .addEventListener("change", () => this.dress());
    }

    // --- what is there

    build(title) {
      const { points, name } = this;
      const [step] = points.columns;
      const button = (text, label, press, more = {}) => element(
        "button", { type: "button", "aria-label": label, title: label, onclick: press,
          ...more }, text);
      const select = (label, options, chosen, change) => element(
        "div", { class: "nws-choice" },
        element("label", { for: `${name}-${label}` }, label),
        element("select", { id: `${name}-${label}`, onchange: (event) =>
          change(Number(event.target.value)) },
        ...options.map((text, k) => element(
          "option", { value: k, selected: k === chosen }, text))));

      this.canvas = element("canvas", {
        tabindex: 0, role: "application", "aria-describedby": `${name}-keys`,
        "aria-label": `${title}: ${points.n} points of ${points.runs.length} nets`,
      });
      this.tip = element("div", { class: "nws-tip", hidden: true, "aria-hidden": true });
      this.grow = button("+", "Zoom in", () => this.plot.zoom(1.6, null, true));
      this.shrink = button("\u2212", "Zoom out", () => this.plot.zoom(1 / 1.6, null, true));
      this.fit = button("\u2922", "Show the whole plane",
        () => this.plot.go(this.plot.whole(), true));
      this.legend = element("div", { class: "nws-legend" });

      this.slider = element("input", {
        type: "range", min: 0, max: points.steps.length, value: points.steps.length,
        step: 1, id: `${name}-step`, oninput: () => {
          this.pause();
          this.seek(Number(this.slider.value));
          this.announce();
        },
      });
      this.now = element("output", { for: `${name}-step` });
      this.player = button("\u25b6\ufe0e", "Play", () => this.playing ? this.pause() : this.play());
      this.nets = element("select", {
        id: `${name}-net`, onchange: () => this.pickRun(Number(this.nets.value)),
      }, element("option", { value: -1 }, "none"),
      ...points.runs.map((run, k) => element("option", { value: k }, run)));
      this.clearer = button("\u00d7", "Clear the pick", () => this.pick(-1));
      this.facts = element("p", { class: "nws-facts" });
      this.live = element("p", { class: "nws-live", role: "status", "aria-live": "polite" });

      const top = element("div", { class: "nws-bar" },
        element("strong", { "aria-hidden": true }, title));
      if (points.planes.length > 1) {
        const planes = points.planes.map((plane) => plane.name);
        top.append(select("Plane", planes, 0, (plane) => this.turn(plane)));
      }
      const colours = ["net", ...points.columns.map((column) => column.name)];
      const colour = points.columns.indexOf(this.column) + 1;
      top.append(select("Colour", colours, colour, (k) => this.recolour(k - 1)));

      const keys = element("dl", {});
      for (const [key, does] of KEYS) {
        keys.append(element("div", {}, element("dt", {}, key), element("dd", {}, does)));
      }
      this.root.append(
        top,
        element("div", { class: "nws-stage" }, this.canvas, this.tip,
          element("div", { class: "nws-zoom" }, this.grow, this.shrink, this.fit)),
        this.legend,
        element("div", { class: "nws-bar" },
          element("div", { class: "nws-time" }, this.player,
            element("label", { for: `${name}-step` }, named(step.name)), this.slider, this.now),
          element("div", { class: "nws-net" },
            element("label", { for: `${name}-net` }, "Net"),
            button("\u2039", "Previous net", () => this.stepNet(-1)), this.nets,
            button("\u203a", "Next net", () => this.stepNet(1)), this.clearer)),
        this.facts, this.live,
        element("details", {}, element("summary", {}, "Keys and gestures"),
          element("p", { id: `${name}-keys` }, "Drag to move; pinch, double-click or " +
            "turn the wheel with Ctrl to zoom; click a point to pick its net. With " +
            "the plane in focus:"), keys),
      );
      this.root.classList.add("nws-ready");
    }

    // --- what is done

    listen() {
      const { canvas, plot } = this;
      const down = new Map(); // pointers that are down
      let moved = false, reach = 10;
      const at = (event) => {
        const box = canvas.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
      };
      const middle = () => {
        const all = [...down.values()], [a, b = a] = all;
        return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2, Math.hypot(a[0] - b[0], a[1] - b[1])];
      };
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button || down.size > 1) return;
        if (!down.size) moved = false;
        else moved = true; // a second finger: no tap
        reach = event.pointerType === "mouse" ? 10 : 22;
        down.set(event.pointerId, at(event));
        canvas.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!down.has(event.pointerId)) {
          if (event.pointerType === "mouse") this.hover(plot.find(...at(event), 10));
          return;
        }
        const [x, y, apart] = middle(), before = down.get(event.pointerId), now = at(event);
        const far = Math.hypot(now[0] - before[0], now[1] - before[1]);
        if (!moved && far < (event.pointerType === "mouse" ? 4 : 8)) return;
        moved = true;
        down.set(event.pointerId, now);
        const [toX, toY, toApart] = middle();
        canvas.classList.add("nws-dragged");
        plot.pan(toX - x, toY - y);
        if (apart && toApart) plot.zoom(toApart / apart, [toX, toY]);
      });
      const up = (event) => {
        if (!down.delete(event.pointerId)) return;
        if (!down.size) canvas.classList.remove("nws-dragged");
        if (event.type === "pointerup" && !moved) this.pick(plot.find(...at(event), reach));
      };
      canvas.addEventListener("pointerup", up);
      canvas.addEventListener("pointercancel", up);
      canvas.addEventListener("pointerleave", () => this.hover(-1));
      canvas.addEventListener("dblclick", (event) => plot.zoom(2, at(event), true));
      canvas.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
        event.preventDefault();
        const lines = event.deltaMode ? 16 : 1;
        plot.zoom(Math.exp(-clamp(event.deltaY * lines, -60, 60) / 180), at(event));
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => this.key(event));
      this.root.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.escape();
      });
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { plot } = this, stride = 0.12 * plot.width;
      const does = {
        ArrowLeft: () => plot.pan(stride, 0, true),
        ArrowRight: () => plot.pan(-stride, 0, true),
        ArrowUp: () => plot.pan(0, stride, true),
        ArrowDown: () => plot.pan(0, -stride, true),
        "+": () => this.grow.click(),
        "=": () => this.grow.click(),
        "-": () => this.shrink.click(),
        0: () => this.fit.click(),
        Home: () => this.fit.click(),
        n: () => this.stepNet(1),
        p: () => this.stepNet(-1),
        ",": () => this.nudge(-1),
        ".": () => this.nudge(1),
      }[event.key];
      if (!does) return;
      event.preventDefault();
      event.stopPropagation(); // the theme has keys of its own
      does();
    }

    escape() {
      this.pause();
      this.hover(-1);
      if (this.plot.row >= 0) this.pick(-1);
      else if (this.only.size) this.keep(null);
    }

    hover(row) {
      const { plot, tip } = this;
      if (row === plot.hovered) return;
      plot.hovered = row;
      plot.schedule();
      tip.hidden = row < 0;
      this.canvas.classList.toggle("nws-over", row >= 0);
      if (row >= 0) {
        const swatch = element("i", {});
        swatch.style.background = plot.colours[plot.colourOf[row]];
        const facts = this.points.columns.slice(1).map((column) => element(
          "div", {}, element("span", {}, column.name), element("b", {}, column.text(row))));
        tip.replaceChildren(element("strong", {}, swatch, this.title(row)), ...facts);
        const [x, y] = plot.place(row);
        const left = x > plot.width / 2 ? x - tip.offsetWidth - 14 : x + 14;
        tip.style.left = `${clamp(left, 4, Math.max(4, plot.width - tip.offsetWidth - 4))}px`;
        tip.style.top = `${clamp(y - tip.offsetHeight / 2, 4,
          Math.max(4, plot.height - tip.offsetHeight - 4))}px`;
      }
    }

    // Pick a point and with it its net; -1 for none.
    pick(row) {
      const { plot, points } = this;
      plot.row = row;
      plot.run = row < 0 ? -1 : points.runOf[row];
      this.shade();
      this.tell();
      this.announce();
    }

    pickRun(run) {
      const { plot, points } = this;
      const step = plot.row < 0 ? points.steps.length : points.stepOf[plot.row];
      this.pick(run < 0 ? -1 : points.rowAt(run, Math.min(step, plot.time)));
      if (run >= 0) this.show(run);
    }

    // Bring a run that is out of sight into the middle.
    show(run) {
      const { plot, points } = this;
      let x = 0, y = 0, seen = false;
      const [from, to] = [points.starts[run], points.starts[run + 1]];
      for (let row = from; row < to; row++) {
        const [px, py] = plot.place(row);
        seen ||= px > 0 && py > 0 && px < plot.width && py < plot.height;
        x += plot.plane.x[row] / (to - from);
        y += plot.plane.y[row] / (to - from);
      }
      if (!seen) plot.go({ x, y, zoom: plot.view.zoom }, true);
    }

    stepNet(by) {
      const count = this.points.runs.length, { run } = this.plot;
      this.pickRun(run < 0 ? (by > 0 ? 0 : count - 1) : (run + by + count) % count);
    }

    nudge(by) {
      this.pause();
      this.seek(clamp(Math.round(this.plot.time) + by, 0, this.points.steps.length));
      this.announce();
    }

    // To a step, or between two; the number of steps stands for all of them.
    seek(time) {
      const { plot, points } = this;
      const before = Math.floor(plot.time);
      plot.time = time;
      if (plot.run >= 0 && time < points.steps.length) {
        plot.row = points.rowAt(plot.run, Math.floor(time));
      }
      if (Math.floor(time) !== before) this.shade();
      this.tell();
      plot.schedule();
    }

    play() {
      const last = this.points.steps.length;
      this.playing = {};
      this.player.textContent = "\u275a\u275a";
      this.player.setAttribute("aria-label", "Pause");
      if (this.plot.time > last - 1) this.seek(0);
      const { playing } = this, from = this.plot.time, start = performance.now();
      const pace = Math.max(3, last / 7); // steps a second
      const tick = (now) => {
        if (this.playing !== playing) return;
        let time = from + (pace * Math.max(0, now - start)) / 1000;
        if (still.matches) time = Math.floor(time);
        if (time >= last - 1) {
          this.seek(last);
          this.pause();
          this.announce();
          return;
        }
        this.seek(time);
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }

    pause() {
      if (!this.playing) return;
      this.playing = null;
      this.player.textContent = "\u25b6\ufe0e";
      this.player.setAttribute("aria-label", "Play");
      if (this.plot.time < this.points.steps.length) this.seek(Math.round(this.plot.time));
    }

    turn(plane) {
      this.hover(-1);
      this.plot.turn(this.points.planes[plane]);
    }

    recolour(column) {
      this.column = column < 0 ? null : this.points.columns[column];
      this.only.clear();
      this.dress();
    }

    // Keep one more category in colour, or one less; null: all of them.
    keep(code) {
      if (code === null) this.only.clear();
      else if (!this.only.delete(code)) this.only.add(code);
      for (const entry of this.legend.querySelectorAll("button")) {
        entry.setAttribute("aria-pressed", this.only.has(Number(entry.value)));
      }
      this.shade();
    }

    // --- what is seen

    dress() {
      const style = getComputedStyle(this.root), probe = this.plot.ctx;
      const theme = {};
      for (const key of ["paper", "ink", "faint"]) {
        probe.fillStyle = "#888888"; // stays where a theme's colour is unknown
        probe.fillStyle = style.getPropertyValue(`--nws-${key}`).trim();
        theme[key] = probe.fillStyle;
      }
      const paper = rgb(theme.paper);
      theme.paperInk = pixel(paper);
      const numbers = this.column?.kind === "numbers";
      const kept = numbers ? scale(paper) : this.palette.map((c) => legible(c, paper));
      this.paint(numbers);
      this.plot.dress(theme, [...kept, rgb(theme.faint)]);
      this.explain(numbers);
      this.shade();
    }

    // Each point's colour, and whether a path has one colour.
    paint(numbers) {
      const { points, plot, column, palette } = this;
      const nothing = numbers ? BANDS : palette.length;
      for (let row = 0; row < points.n; row++) {
        const code = column ? column.code(row) : points.runOf[row];
        if (column && code === column.missing) plot.colourOf[row] = nothing;
        else if (!numbers) plot.colourOf[row] = code % palette.length;
        else {
          plot.colourOf[row] = Math.round((BANDS - 1) * column.share(code));
        }
      }
      plot.strands = !column || column.perRun;
    }

    explain(numbers) {
      const { legend, column, points } = this;
      const colours = this.plot.colours.slice(0, -1);
      legend.replaceChildren();
      if (numbers) {
        const bar = element("i", { class: "nws-scale" });
        bar.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
        const end = (code) => numeral(column.number(code), column.whole);
        const [below, above] = column.beyond;
        legend.append(element("span", {}, column.name + (column.log ? ", log scale" : "")),
          element("span", {}, (below ? "up to " : "") + end(column.low)), bar,
          element("span", {}, end(column.high) + (above ? " and more" : "")));
      } else if (column) {
        legend.append(element("span", {}, column.name));
        column.labels.forEach((label, code) => {
          const swatch = element("i", {});
          swatch.style.background = colours[code % colours.length];
          legend.append(element("button", {
            type: "button", value: code, "aria-pressed": this.only.has(code),
            onclick: () => this.keep(code),
          }, swatch, label));
        });
      } else {
        legend.append(element("span", {}, points.runs.length > colours.length
          ? `a colour a net, ${colours.length} in turn` : "a colour a net"));
      }
      if (points.paths) {
        legend.append(element("span", { class: "nws-marks" },
          element("i", { class: "nws-first" }), "first",
          element("i", { class: "nws-last" }), "last"));
      }
    }

    // Which points are shown, muted or left as ghosts.
    shade() {
      const { points, plot, only, column } = this;
      const all = plot.time >= points.steps.length, step = Math.floor(plot.time);
      plot.filtered = only.size > 0;
      for (let row = 0; row < points.n; row++) {
        let mode = plot.run < 0 || points.runOf[row] === plot.run ? SHOWN : MUTED;
        const at = points.stepOf[row];
        if (!all && (points.paths ? at > step : at !== step)) mode = HIDDEN;
        if (only.size && !only.has(column.code(row))) mode = HIDDEN;
        plot.mode[row] = mode;
      }
      if (plot.hovered >= 0 && plot.mode[plot.hovered] === HIDDEN) this.hover(-1);
      plot.schedule();
    }

    title(row) {
      const { points } = this, [step] = points.columns;
      return `Net ${points.runs[points.runOf[row]]}, ${step.name} ${step.text(row)}`;
    }

    sentence() {
      const { points, plot } = this;
      if (plot.row < 0) return "Nothing picked yet: click or tap a point, or choose a net.";
      const facts = points.columns.slice(1).map((c) => `${c.name} ${c.text(plot.row)}`);
      return `${[this.title(plot.row), facts.join(", ")].filter(Boolean).join(": ")}.`;
    }

    // Texts and controls after any change.
    tell() {
      const { points, plot, slider } = this;
      const all = plot.time >= points.steps.length;
      const [step] = points.columns;
      const now = all ? "all" : points.steps[Math.floor(plot.time)];
      slider.value = Math.floor(plot.time);
      slider.setAttribute("aria-valuetext", all ? `all ${step.name}s` : `${step.name} ${now}`);
      this.now.textContent = now;
      this.nets.value = plot.run;
      this.clearer.setAttribute("aria-disabled", plot.row < 0);
      this.facts.textContent = this.sentence();
    }

    announce() {
      this.live.textContent = this.sentence();
    }
  }

  function named(name) {
    return name.charAt(0).toUpperCase() + name.slice(1);
  }

  function start() {
    for (const root of document.querySelectorAll(".nws-explorer:not(.nws-ready)")) {
      const packed = JSON.parse(root.querySelector("script").textContent);
      root.explorer = new Explorer(root, packed);
    }
  }

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
  } else {
    start();
  }
})();
