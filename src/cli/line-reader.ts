/**
 * @file Lines that somebody types, or that come through a pipe.
 */
import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import type { CliIo } from './io.ts';

/** What is read: some lines as one text, or a Ctrl-C in place of them, or nothing more. */
export type Typed = { readonly text: string } | 'interrupt' | 'end';

/** A block of lines begins and ends with this. */
const FENCE = '"""';

export class LineReader {
  readonly #lines: string[] = [];
  readonly #interface: Interface;
  readonly #screen: Screen;
  readonly #terminal: boolean;
  /** Told of the next line, or of the end, or that there was a Ctrl-C instead. */
  #wake: ((interrupted: boolean) => void) | null = null;
  #ended = false;
  /** Whoever wants the next Ctrl-C, in place of the one who types. */
  onInterrupt: (() => void) | null = null;

  constructor(io: CliIo) {
    this.#terminal = io.stdin.isTTY === true;
    this.#screen = new Screen(io.stdout);
    this.#interface = createInterface({ input: io.stdin, output: this.#screen, terminal: this.#terminal });
    this.#interface.on('line', (line) => {
      this.#lines.push(line);
      this.#tell();
    });
    this.#interface.on('close', () => {
      this.#ended = true;
      this.#tell();
    });
    this.#interface.on('SIGINT', () => this.interrupt());
  }

  /** A Ctrl-C, wherever it came from. */
  interrupt(): void {
    if (this.onInterrupt) this.onInterrupt();
    else this.#tell(true);
  }

  /** A line; several where all but the last end with a backslash, or where they stand between lines of `"""`. */
  async read(prompt: string, more: string): Promise<Typed> {
    const first = await this.#line(prompt);
    if (typeof first === 'string') return first;
    const lines: string[] = [];
    let { text } = first;
    if (text.trimStart().startsWith(FENCE)) {
      text = text.trimStart().slice(FENCE.length);
      while (!text.trimEnd().endsWith(FENCE)) {
        if (text !== '' || lines.length > 0) lines.push(text);
        const next = await this.#line(more);
        if (typeof next === 'string') return next;
        text = next.text;
      }
      const rest = text.trimEnd().slice(0, -FENCE.length);
      return { text: (rest === '' ? lines : [...lines, rest]).join('\n') };
    }
    while (text.endsWith('\\')) {
      lines.push(text.slice(0, -1));
      const next = await this.#line(more);
      if (typeof next === 'string') return next;
      text = next.text;
    }
    return { text: [...lines, text].join('\n') };
  }

  close(): void {
    this.#interface.close();
  }

  async #line(prompt: string): Promise<Typed> {
    // What was typed meanwhile counts, unseen as it was.
    if (this.#lines.length === 0 && !this.#ended) {
      if (this.#terminal) {
        this.#screen.muted = false;
        this.#interface.setPrompt(prompt);
        this.#interface.prompt();
      }
      const interrupted = await new Promise<boolean>((wake) => {
        this.#wake = wake;
      });
      this.#screen.muted = true;
      if (interrupted) {
        // Forgets what stands in the line.
        if (this.#terminal) this.#interface.write(null, { ctrl: true, name: 'u' });
        return 'interrupt';
      }
    }
    const text = this.#lines.shift();
    return text === undefined ? 'end' : { text };
  }

  #tell(interrupted = false): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.(interrupted);
  }
}

/** Shows what is typed, but only when somebody is asked. */
class Screen extends Writable {
  readonly #out: CliIo['stdout'];
  muted = true;

  constructor(out: CliIo['stdout']) {
    super({ decodeStrings: false });
    this.#out = out;
  }

  get columns(): number | undefined {
    return this.#out.columns;
  }

  override _write(chunk: string | Uint8Array, _encoding: string, done: () => void): void {
    if (!this.muted) this.#out.write(chunk);
    done();
  }
}
