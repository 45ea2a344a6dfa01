/**
 * @file Ticks, colours and marks of plots.
 */

/** Colours that are told apart by people with colour blindness too (Okabe and Ito), then darker ones. */
const COLOURS = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#7f7f7f',
  '#332288',
  '#882255',
  '#117733',
  '#999933',
  '#aa4499',
  '#44aa99',
  '#661100',
] as const;

type Marker = (x: number, y: number, colour: string) => string;

const path = (d: string, colour: string) => `<path d="${d}" fill="${colour}"/>`;
const n = (value: number) => value.toFixed(1);
const MARKERS: readonly Marker[] = [
  (x, y, colour) => `<circle cx="${n(x)}" cy="${n(y)}" r="3" fill="${colour}"/>`,
  (x, y, colour) => path(`M${n(x - 2.8)} ${n(y - 2.8)}h5.6v5.6h-5.6z`, colour),
  (x, y, colour) => path(`M${n(x)} ${n(y - 3.6)}l3.6 6.4h-7.2z`, colour),
  (x, y, colour) => path(`M${n(x)} ${n(y - 4)}l4 4l-4 4l-4 -4z`, colour),
  (x, y, colour) => path(`M${n(x)} ${n(y + 3.6)}l3.6 -6.4h-7.2z`, colour),
];

/** Colour and mark of the line with this index; the first 70 differ. */
export function seriesStyle(index: number): {
  readonly colour: string;
  readonly marker: (x: number, y: number) => string;
} {
  const colour = COLOURS[index % COLOURS.length];
  const marker = MARKERS[index % MARKERS.length];
  return { colour, marker: (x, y) => marker(x, y, colour) };
}

const DASH = 6;

/** Attributes for lines of which some lie on each other: these take turns, so that the colours of all are seen. */
export function sharedDashes(lines: readonly string[]): string[] {
  return lines.map((line, i) => {
    const same = lines.flatMap((other, j) => (other === line ? [j] : []));
    if (same.length === 1) return '';
    const gap = DASH * (same.length - 1);
    return ` stroke-dasharray="${DASH} ${gap}" stroke-dashoffset="${-DASH * same.indexOf(i)}"`;
  });
}

/** Round values from 0 to at least `high`, four to six of them. */
export function niceTicks(high: number): number[] {
  if (!(high > 0) || !Number.isFinite(high)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(high / 4));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => high / size <= 5) ?? 10 * power;
  const count = Math.ceil(high / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** About how wide a text is at 11 pixels. */
export function textWidth(text: string): number {
  return text.length * 6.6;
}
