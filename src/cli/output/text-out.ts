/**
 * @file Text of a model on stdout, as it comes: on a terminal broken between words.
 */
import { type CliIo, shown, widthOf, write } from '../io.ts';
import { LineWrapper } from './wrap.ts';

/** Writes pieces of text; on a terminal in lines of its width. */
export class ModelText {
  readonly #io: CliIo;
  readonly #wrapper: LineWrapper | null;
  #last = '';

  constructor(io: CliIo) {
    this.#io = io;
    this.#wrapper = io.stdout.isTTY ? new LineWrapper(widthOf(io.stdout)) : null;
  }

  /** The last text that was written, empty where there was none. */
  get last(): string {
    return this.#last;
  }

  async push(text: string): Promise<void> {
    if (text === '') return;
    this.#last = text;
    const visible = shown(text, this.#io.stdout);
    await write(this.#io, this.#wrapper ? this.#wrapper.push(visible) : visible);
  }

  /** Writes a text that is not the model's, in a style of its own. */
  async quote(text: string, style: (text: string) => string): Promise<void> {
    const visible = style(shown(text, this.#io.stdout));
    await write(this.#io, this.#wrapper ? this.#wrapper.push(visible) : visible);
  }

  /** Writes what was held back, and a line end where there is none. @param always also where nothing was written. */
  end(always: boolean): void {
    const rest = this.#wrapper?.flush() ?? '';
    const ends = this.#last === '' ? !always : this.#last.endsWith('\n');
    this.#io.stdout.write(`${rest}${ends ? '' : '\n'}`);
  }
}

/** An answer: without the spaces and line ends that many models begin with. */
export class AnswerText {
  readonly #text: ModelText;

  constructor(io: CliIo) {
    this.#text = new ModelText(io);
  }

  push(text: string): Promise<void> {
    return this.#text.push(this.#text.last === '' ? text.trimStart() : text);
  }

  end(): void {
    this.#text.end(false);
  }
}
