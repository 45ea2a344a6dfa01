/**
 * @file Progress on stderr: a bar on a terminal, a line now and then anywhere else.
 */
import type { HubRetry } from '../../exports/checkpoint-node.ts';
import type { LoadProgress } from '../../node.ts';
import { oneLine } from '../failure.ts';
import { type CliIo, shown, widthOf } from '../io.ts';
import { bytes, duration, whole } from './format.ts';
import { type Style, styleOf } from './style.ts';

/** How far something is. */
export interface ProgressState {
  /** What is being done, e.g. `Downloading`; another label begins anew. */
  readonly label: string;
  readonly done: number;
  readonly total: number;
  readonly unit: 'bytes' | 'tokens' | 'runs' | 'requests';
  /** What else to show, such as the tokens of all requests. */
  readonly note?: string;
}

/** Work that takes less time than this shows no bar. */
const QUIET_MS = { terminal: 150, lines: 2_000 };
const REDRAW_MS = 80;
const LINE_EVERY_MS = 10_000;
const BAR = { least: 8, most: 30 };

export class Progress {
  readonly #io: CliIo;
  readonly #style: Style;
  readonly #silent: boolean;
  readonly #now: () => number;
  #label: string | undefined;
  #begun = { at: 0, done: 0 };
  #told = Number.NEGATIVE_INFINITY;
  #drawn = false;

  /** @param silent says nothing at all; `now` is a clock in milliseconds. */
  constructor(io: CliIo, silent = false, now: () => number = () => performance.now()) {
    this.#io = io;
    this.#style = styleOf(io.stderr, io.env);
    this.#silent = silent;
    this.#now = now;
  }

  update(state: ProgressState): void {
    if (this.#silent) return;
    const now = this.#now();
    if (state.label !== this.#label) {
      this.end();
      this.#label = state.label;
      this.#begun = { at: now, done: state.done };
    }
    const terminal = this.#io.stderr.isTTY === true;
    if (now - this.#begun.at < (terminal ? QUIET_MS.terminal : QUIET_MS.lines)) return;
    if (now - this.#told < (terminal ? REDRAW_MS : LINE_EVERY_MS) && state.done < state.total) return;
    this.#told = now;
    if (terminal) {
      this.#io.stderr.write(`\r${this.#bar(state, now)}\x1b[K`);
      this.#drawn = true;
    } else {
      const rest = this.#pace(state, now).map((part) => `, ${part}`);
      this.#io.stderr.write(`${state.label}: ${amount(state)} (${percent(state)})${rest.join('')}\n`);
    }
  }

  /** Writes a line that stays. */
  note(line: string): void {
    if (this.#silent) return;
    this.end();
    this.#io.stderr.write(`${this.#style.yellow(shown(line, this.#io.stderr))}\n`);
  }

  /** Takes the bar away, so that something else may be written. */
  end(): void {
    if (this.#drawn) this.#io.stderr.write('\r\x1b[K');
    this.#drawn = false;
    this.#label = undefined;
    this.#told = Number.NEGATIVE_INFINITY;
  }

  /** Speed, what else is known, and the time that is left. */
  #pace({ done, total, unit, note }: ProgressState, now: number): string[] {
    const perMs = (done - this.#begun.done) / (now - this.#begun.at);
    const parts = note === undefined ? [] : [note];
    if (!(perMs > 0)) return parts;
    if (unit === 'bytes') parts.unshift(`${bytes(perMs * 1000)}/s`);
    if (unit === 'tokens') parts.unshift(`${whole(perMs * 1000)} tokens/s`);
    if (done < total) parts.push(`${remaining((total - done) / perMs)} left`);
    return parts;
  }

  #bar(state: ProgressState, now: number): string {
    const { done, total, label } = state;
    // What does not fit is left out, the least important first.
    const columns = widthOf(this.#io.stderr) - 1;
    const parts = [percent(state).padStart(4), amount(state), ...this.#pace(state, now)];
    const width = () => label.length + parts.reduce((sum, part) => sum + 2 + part.length, 0);
    while (parts.length > 1 && width() + 2 + BAR.least > columns) parts.pop();
    const cells = Math.min(BAR.most, columns - width() - 2);
    if (cells < BAR.least) return `${label} ${percent(state)}`.slice(0, columns);
    const full = total > 0 ? Math.min(cells, Math.floor((cells * done) / total)) : 0;
    const bar = this.#style.cyan('━'.repeat(full)) + this.#style.dim('─'.repeat(cells - full));
    return `${label}  ${bar}${parts.map((part) => `  ${part}`).join('')}`;
  }
}

/** Tells what {@link LoadProgress} says. */
export function loadProgress(progress: Progress): (state: LoadProgress) => void {
  return (state) => {
    if (state.stage === 'weights' && state.note !== undefined) progress.note(state.note);
    const label = state.stage === 'download' ? 'Downloading' : 'Preparing weights';
    progress.update({ label, done: state.bytes, total: state.total, unit: 'bytes' });
  };
}

/** Tells that the hub was not reached, and is tried again. */
export function retryNote(progress: Progress): (retry: HubRetry) => void {
  return (retry) => progress.note(retryWords(retry));
}

function retryWords({ reason, waitMs, failures, retries }: HubRetry): string {
  return `${oneLine(reason).replace(/[^.?!]$/, '$&.')} Trying again in ${duration(waitMs)} (${failures} of ${retries}).`;
}

/** Whole seconds: it is an estimate. */
function remaining(ms: number): string {
  return ms < 59_500 ? `${Math.max(1, Math.round(ms / 1000))} s` : duration(ms);
}

function amount({ done, total, unit }: ProgressState): string {
  if (unit !== 'bytes') return `${whole(done)} of ${whole(total)} ${unit}`;
  const [have, all] = [bytes(done), bytes(total)];
  const [value, haveUnit] = have.split(' ');
  return all.endsWith(` ${haveUnit}`) ? `${value} of ${all}` : `${have} of ${all}`;
}

function percent({ done, total }: ProgressState): string {
  return `${total > 0 ? Math.floor((100 * done) / total) : 0}%`;
}
