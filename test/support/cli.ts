/**
 * @file The command line under test: in this process with streams of its own, or as a process that can be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import type { CliIo } from '../../src/cli/io.ts';
import { run } from '../../src/cli/program.ts';
import { built } from './built.ts';

const ROOT = join(import.meta.dirname, '../..');

/** What a command left behind. */
export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliRun {
  /** What is piped in; without it, stdin is a terminal at which nobody types. */
  readonly stdin?: string | Uint8Array | Readable;
  readonly env?: CliIo['env'];
  /** Width of the terminal that stdout and stderr are; none unless stated. */
  readonly terminal?: number;
  readonly signal?: AbortSignal;
  /** Told when something was written to stdout. */
  readonly onOutput?: (all: string) => void;
}

/** Text that was written to it. */
export class TextSink extends Writable {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number | undefined;

  readonly #onText: ((all: string) => void) | undefined;

  constructor(terminal?: number, onText?: (all: string) => void) {
    super({ decodeStrings: false });
    this.#onText = onText;
    this.isTTY = terminal !== undefined;
    this.columns = terminal;
  }

  override _write(chunk: string | Uint8Array, _encoding: string, done: () => void): void {
    this.text += typeof chunk === 'string' ? chunk : new TextDecoder().decode(chunk);
    this.#onText?.(this.text);
    done();
  }
}

/** Streams for a command that runs in this process. */
export function testIo(options: CliRun = {}): CliIo & { readonly stdout: TextSink; readonly stderr: TextSink } {
  const { stdin, terminal, env = {}, signal = new AbortController().signal } = options;
  const input = stdin instanceof Readable ? stdin : Readable.from(stdin === undefined ? [] : [Buffer.from(stdin)]);
  return {
    stdin: Object.assign(input, { isTTY: stdin === undefined }),
    stdout: new TextSink(terminal, options.onOutput),
    stderr: new TextSink(terminal),
    env,
    signal,
  };
}

/** Runs a command in this process. */
export async function keyhold(args: readonly string[], options: CliRun = {}): Promise<CliResult> {
  const io = testIo(options);
  const code = await run(args, io);
  return { code, stdout: io.stdout.text, stderr: io.stderr.text };
}

/** A command in a process of its own. */
export class CliProcess {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly #closed: Promise<{ code: number | null; signal: string | null }>;

  /** @param stdout where its results go instead of into {@link CliProcess.stdout}. */
  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}, stdout: 'pipe' | number = 'pipe') {
    this.child = spawn(process.execPath, [built(join(ROOT, 'src/cli/main.ts')), ...args], {
      cwd: ROOT,
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', ...env },
      stdio: ['pipe', stdout, 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.#closed = new Promise((resolve) => this.child.once('close', (code, signal) => resolve({ code, signal })));
  }

  /** Waits until so much was written to stdout. */
  async untilOutput(characters: number): Promise<void> {
    while (this.stdout.length < characters && this.child.exitCode === null)
      await new Promise((resolve) => this.child.stdout!.once('data', resolve));
  }

  /** Waits until something was written to stderr. */
  async untilErrorOutput(): Promise<void> {
    if (this.stderr === '') await new Promise((resolve) => this.child.stderr!.once('data', resolve));
  }

  /** Waits for its end; a signal that killed it counts as code -1. */
  async end(): Promise<CliResult> {
    const { code } = await this.#closed;
    return { code: code ?? -1, stdout: this.stdout, stderr: this.stderr };
  }
}
