/* The one resize of this project, as Pillow computes it to within a level: an antialiased triangle filter, first along
   the rows, then along the columns, rounded to whole levels after each. */

/* For each of `to` places: the first of the `from` pixels it is made of, and their weights. */
function weights(from, to) {
  const scale = from / to, reach = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(from, Math.floor(centre + reach + 0.5));
    const values = Array.from({ length: end - first },
      (_, k) => Math.max(0, 1 - Math.abs((first + k + 0.5 - centre) / reach)));
    const sum = values.reduce((a, b) => a + b, 0);
    return { first, values: values.map((value) => value / sum) };
  });
}

/* Uint8 [size, size, 3] RGB of RGBA pixels [height, width, 4], as canvas gives them. */
export function resize(pixels, width, height, size) {
  const across = weights(width, size), down = weights(height, size);
  const rows = new Uint8ClampedArray(height * size * 3), out = new Uint8ClampedArray(size * size * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < size; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        across[x].values.forEach((weight, k) => { sum += weight * pixels[4 * (y * width + across[x].first + k) + c]; });
        rows[3 * (y * size + x) + c] = Math.floor(sum + 0.5);
      }
    }
  }
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < 3 * size; x++) {
      let sum = 0;
      down[y].values.forEach((weight, k) => { sum += weight * rows[3 * size * (down[y].first + k) + x]; });
      out[3 * size * y + x] = Math.floor(sum + 0.5);
    }
  }
  return new Uint8Array(out.buffer);
}
