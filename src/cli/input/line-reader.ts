/**
 * @file Reads lines that are typed at a terminal or piped in.
 */
import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import type { CliIo } from '../io.ts';

/** What is read: a text of one or several lines, a Ctrl-C, or the end of the input. */
export type Typed = { readonly text: string } | 'interrupt' | 'end';

/** A terminal that is asked to marks what is pasted (bracketed paste). */
const PASTE_MODE = { on: '\x1b[?2004h', off: '\x1b[?2004l' } as const;

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
  readonly #io: CliIo;
  /** Lines of a paste so far; they are one message with the line that ends it. */
  readonly #pasted: string[] = [];
  #pasting = false;
  #closed = false;
  /** Called by the next Ctrl-C; without it, Ctrl-C interrupts {@link read}. */
  onInterrupt: (() => void) | null = null;

  constructor(io: CliIo) {
    this.#terminal = io.stdin.isTTY === true;
    this.#screen = new Screen(io.stdout);
    this.#interface = createInterface({ input: io.stdin, output: this.#screen, terminal: this.#terminal });
    this.#interface.on('line', (line) => {
      this.#pasted.push(line);
      if (this.#pasting) return;
      this.#lines.push(this.#pasted.splice(0).join('\n'));
      this.#tell();
    });
    this.#interface.on('close', () => {
      this.#ended = true;
      this.#tell();
    });
    if (this.#terminal) {
      io.stdin.on('keypress', this.#onKey);
      io.stdout.write(PASTE_MODE.on);
    }
    this.#io = io;
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
    if (text.includes('\n')) return first;
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
    if (this.#closed) return;
    this.#closed = true;
    if (this.#terminal) {
      this.#io.stdin.off('keypress', this.#onKey);
      this.#io.stdout.write(PASTE_MODE.off);
    }
    this.#interface.close();
  }

  readonly #onKey = (_: string | undefined, key: { readonly name?: string } | undefined): void => {
    if (key?.name === 'paste-start') this.#pasting = true;
    else if (key?.name === 'paste-end') this.#pasting = false;
  };

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
        this.#pasted.length = 0;
        this.#pasting = false;
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

/** Shows what is typed, but only while a line is read. */
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
