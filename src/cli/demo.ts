/**
 * @file The first look: the small model writes in a small cache, and says in plain words what the cache did.
 */
import { planMemory } from '../exports/checkpoint-node.ts';
import { isSmallModel } from './input/options.ts';
import { type CliIo, shown, widthOf, write } from './io.ts';
import type { CacheReport, Range } from './output/cache-report.ts';
import { bytes, parameters, ranges, rate, whole } from './output/format.ts';
import { type Style, styleOf } from './output/style.ts';
import type { RunFacts } from './output/summary.ts';
import type { RunView } from './output/views.ts';
import { LineWrapper } from './output/wrap.ts';
import { type RunRecord, tokensPerSecond } from './record.ts';

export const DEMO_PROMPT = 'And it came to pass';

/** What the demo does unless flags say otherwise. This seed gives a text that reads well. */
export const DEMO_FLAGS = { cachePolicy: 'lastrec', cacheLength: 128, maxNewTokens: 400, seed: 4 } as const;

const INDENT = '  ';
const MOST_WIDTH = 84;
/** Columns of a line of the report: its label, then a number. */
const COLUMNS = { label: 9, number: 6, positions: 20 };

export class DemoView implements RunView {
  readonly #io: CliIo;
  readonly #prompt: string;
  readonly #style: Style;
  readonly #width: number;
  readonly #wrapper: LineWrapper;

  constructor(io: CliIo, prompt: string) {
    this.#io = io;
    this.#prompt = prompt;
    this.#style = styleOf(io.stdout, io.env);
    this.#width = Math.min(MOST_WIDTH, widthOf(io.stdout) - 1);
    this.#wrapper = new LineWrapper(this.#width, INDENT);
  }

  async begin({ model }: RunFacts): Promise<void> {
    const { bold, dim } = this.#style;
    const size = parameters(planMemory(model.config).parameters);
    const reads = isSmallModel(model.name) ? ', trained on the King James Bible,' : '';
    await write(
      this.#io,
      `\n${INDENT}${bold('Keyhold')} ${dim(`· a ${model.config.name} of ${size} parameters${reads} writes:`)}\n\n`,
    );
    await this.piece(this.#prompt);
  }

  piece(text: string): Promise<void> {
    return write(this.#io, this.#wrapper.push(shown(text, this.#io.stdout)));
  }

  end(record: RunRecord): void {
    const lines = demoReport(record, this.#width - INDENT.length, this.#style);
    const indented = lines.map((line) => (line === '' ? '' : INDENT + line));
    const cut = record.finishReason === 'eos' ? '' : this.#style.dim(' …');
    this.#io.stdout.write(`${this.#wrapper.flush()}${cut}\n\n${indented.join('\n')}\n\n`);
  }
}

/** The report, line by line. */
function demoReport(record: RunRecord, width: number, style: Style): string[] {
  const { cache, heldShare, promptTokens, finishReason } = record;
  const until = finishReason === 'aborted' ? ', until you stopped it' : '';
  return [
    style.bold(`What the cache did${until}`),
    `${whole(cache.seen)} tokens went through the model: ${whole(promptTokens)} it read, the others it wrote.`,
    `The cache may keep ${whole(cache.cacheLength)} of them (policy ${cache.policy}).`,
    '',
    picture(heldShare, width, style),
    '',
    ...keptLines(cache, style),
    '',
    ...row('memory', memoryWords(cache), style, width),
    ...row('speed', `${rate(tokensPerSecond(record))} tokens a second`, style),
    '',
    style.bold('Go on with'),
    ...NEXT.flatMap(([what, line]) => [style.dim(`# ${what}`), style.cyan(line)]),
  ];
}

const NEXT = [
  ['your own words, a smaller cache', 'npx keyhold generate "In the beginning" --cache-length 32'],
  ['what this model is, and what memory it takes', 'npx keyhold inspect'],
  ['everything else', 'npx keyhold --help'],
] as const;

/** How much of a cell is held: nothing, then by quarters. */
const SHADES = '·░▒▓█';

/** The sequence from left to right; what is held stands out. */
function picture(share: Float32Array, width: number, { cyan, dim }: Style): string {
  const last = String(Math.max(0, share.length - 1));
  const cells = Math.max(1, width - 3 - last.length);
  const cell = (i: number) => {
    const part = share.subarray(Math.floor((i * share.length) / cells), Math.ceil(((i + 1) * share.length) / cells));
    const mean = part.reduce((sum, held) => sum + held, 0) / Math.max(1, part.length);
    return SHADES[Math.ceil(mean * (SHADES.length - 1) - 1e-3)];
  };
  const line = Array.from({ length: cells }, (_, i) => cell(i)).join('');
  return `0 ${line.replace(/[^·]+/g, cyan).replace(/·+/g, dim)} ${last}`;
}

/** Of the layers that see the whole sequence, if there are such. */
function heldRanges({ positions }: CacheReport): readonly Range[] {
  return (positions?.find(({ window }) => window === null) ?? positions?.[0])?.positions ?? [];
}

function keptLines(cache: CacheReport, style: Style): string[] {
  const held = heldRanges(cache);
  const dropped = gaps(held, cache.seen);
  const name = ([first, last]: Range) =>
    first === 0 && last < cache.seen - 1
      ? 'the very first (attention sinks)'
      : last === cache.seen - 1 && first > 0
        ? 'the most recent'
        : '';
  const line = (label: string, range: Range, what: string) => {
    const count = whole(range[1] - range[0] + 1).padEnd(COLUMNS.number);
    return row(label, `${count}${`positions ${ranges([range])}`.padEnd(COLUMNS.positions)}${what}`, style);
  };
  // Policies that choose by score keep many short ranges: their numbers say enough.
  if (held.length === 0 || held.length > 3) {
    const each = cache.positions === null ? ', chosen by each group of heads for itself' : '';
    return [...row('kept', `${whole(cache.held)}${each}`, style), ...row('dropped', whole(cache.evicted), style)];
  }
  return [
    ...held.flatMap((range) => line('kept', range, name(range))),
    ...dropped.flatMap((range) => line('dropped', range, 'what lay between')),
  ];
}

function gaps(held: readonly Range[], seen: number): Range[] {
  const between: Range[] = [];
  let next = 0;
  for (const [first, last] of [...held, [seen, seen] as const]) {
    if (first > next) between.push([next, first - 1]);
    next = last + 1;
  }
  return between;
}

function memoryWords({ bytes: size, limitBytes, denseBytes, evicted }: CacheReport): string {
  if (evicted === 0) return `${bytes(size)} of keys and values, of at most ${bytes(limitBytes)}`;
  return (
    `${bytes(size)} of keys and values, and never more, however long the text gets; a cache of all tokens would take ` +
    `${bytes(denseBytes)} by now, and grow with every one`
  );
}

/** A label, and text beside it in as many lines as it takes. */
function row(label: string, text: string, style: Style, width = Number.POSITIVE_INFINITY): string[] {
  const wrapper = new LineWrapper(Math.max(20, width - COLUMNS.label));
  const lines = (wrapper.push(text) + wrapper.flush()).split('\n');
  return lines.map((line, i) => style.dim((i === 0 ? label : '').padEnd(COLUMNS.label)) + line);
}
