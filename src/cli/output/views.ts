/**
 * @file How a run is shown: as plain text, or as one JSON object. The demo has a view of its own.
 */
import { type CliIo, tell } from '../io.ts';
import type { RunRecord } from '../record.ts';
import { styleOf } from './style.ts';
import { type RunFacts, summaryJson, summaryLines } from './summary.ts';
import { ModelText } from './text-out.ts';

/** Is told of a run as it goes on. */
export interface RunView {
  begin(facts: RunFacts): Promise<void>;
  piece(text: string): Promise<void>;
  /** Also after a run that was interrupted or failed. */
  end(record: RunRecord, facts: RunFacts): void;
}

/** Text to stdout as it comes, and a summary on stderr. */
export class PlainView implements RunView {
  readonly #io: CliIo;
  readonly #text: ModelText;
  readonly #prompt: string;
  readonly #quiet: boolean;

  /** @param prompt is shown before the text on a terminal; nothing for none. */
  constructor(io: CliIo, prompt: string, quiet: boolean) {
    this.#io = io;
    this.#text = new ModelText(io);
    this.#prompt = prompt;
    this.#quiet = quiet;
  }

  async begin(): Promise<void> {
    const { stdout, env } = this.#io;
    if (stdout.isTTY && !this.#quiet) await this.#text.quote(this.#prompt, styleOf(stdout, env).dim);
  }

  piece(text: string): Promise<void> {
    return this.#text.push(text);
  }

  end(record: RunRecord, facts: RunFacts): void {
    if (failedAtOnce(record)) return;
    this.#text.end(true);
    if (!this.#quiet) tellSummary(this.#io, record, facts);
  }
}

/** One object to stdout when all is done. */
export class JsonView implements RunView {
  readonly #io: CliIo;
  readonly #quiet: boolean;

  constructor(io: CliIo, quiet: boolean) {
    this.#io = io;
    this.#quiet = quiet;
  }

  async begin(): Promise<void> {}

  async piece(): Promise<void> {}

  end(record: RunRecord, facts: RunFacts): void {
    // After an error there is no result, and half of one would be taken for a whole one.
    if (record.finishReason !== 'error') this.#io.stdout.write(`${JSON.stringify(summaryJson(record, facts))}\n`);
    if (!this.#quiet && !failedAtOnce(record)) tellSummary(this.#io, record, facts);
  }
}

/** The error says all that there is to say. */
function failedAtOnce({ finishReason, tokens }: RunRecord): boolean {
  return finishReason === 'error' && tokens.length === 0;
}

function tellSummary(io: CliIo, record: RunRecord, facts: RunFacts): void {
  const { dim } = styleOf(io.stderr, io.env);
  for (const line of ['', ...summaryLines(record, facts)]) tell(io, dim(line));
}
