/**
 * @file A conversation at the terminal: messages and commands, turn by turn.
 */
import { type AnyPolicy, bufferName } from '../exports/policies.ts';
import {
  type ChatMessage,
  Conversation,
  type ConversationOptions,
  KeyholdError,
  type KVCache,
  type LanguageModel,
} from '../index.ts';
import { sameOptions } from '../kvcache/options.ts';
import { loadConversation, saveConversation } from '../node.ts';
import { oneLine } from './failure.ts';
import { LineReader } from './input/line-reader.ts';
import { samplingWords } from './input/sampling.ts';
import { type CliIo, shown, tell } from './io.ts';
import { reportCache } from './output/cache-report.ts';
import { bytes, counted, duration, rate } from './output/format.ts';
import { repeatsItself } from './output/repetition.ts';
import { type Style, styleOf } from './output/style.ts';
import { cacheLine } from './output/summary.ts';
import { AnswerText } from './output/text-out.ts';

export interface SessionOptions {
  /** Of every answer. */
  readonly options: ConversationOptions;
  readonly cache: KVCache;
  /** Whether the command says which cache: a saved conversation with another one gets it. */
  readonly choosesCache: boolean;
  /** Of that cache. */
  readonly policy: AnyPolicy | undefined;
  readonly quiet: boolean;
}

/** What may be typed besides messages. */
const COMMANDS: readonly (readonly [usage: string, what: string])[] = [
  ['/cache', 'what the cache holds, what it dropped, what memory it takes'],
  ['/save FILE', 'save the conversation, and its cache beside it'],
  ['/load FILE', 'go on with a saved one'],
  ['/reset', 'begin anew, with the same system message'],
  ['/help', 'this list'],
  ['/exit', 'leave; so does Ctrl-D'],
];
const MORE_HELP = [
  'A line that ends with a backslash goes on in the next one; so does all between two lines of """.',
  'Ctrl-C stops an answer. A message that begins with a slash is written with two.',
];

const isSystem = ({ role }: ChatMessage): boolean => role === 'system';

/** Such as `lastrec, 512 slots`. */
function cacheWords({ policy, cacheLength, buffer }: KVCache): string {
  const name = bufferName(buffer);
  return `${policy}, ${counted(cacheLength, 'slot')}${name === 'float32' ? '' : `, ${name}`}`;
}

export class ChatSession {
  readonly #model: LanguageModel;
  readonly #io: CliIo;
  readonly #session: SessionOptions;
  readonly #style: Style;
  #conversation: Conversation;
  #failures = 0;

  constructor(model: LanguageModel, io: CliIo, session: SessionOptions) {
    this.#model = model;
    this.#io = io;
    this.#session = session;
    this.#style = styleOf(io.stderr, io.env);
    this.#conversation = new Conversation(model, { ...session.options, cache: session.cache });
  }

  /** Takes over a saved conversation. */
  async load(path: string): Promise<void> {
    const { options, policy } = this.#session;
    const own = typeof policy === 'object' ? policy : undefined;
    const saved = await loadConversation(this.#model, path, options, own);
    this.#say(`${counted(saved.messages.length, 'message')} from ${path}`);
    this.#tellSystem(saved);
    const cache = this.#cacheFor(saved);
    this.#conversation = new Conversation(
      this.#model,
      { ...options, messages: this.#firstOf(saved), cache },
      saved.state,
    );
  }

  /** What is left of a saved conversation after `/reset`: its system message, where the command has none. */
  #firstOf({ messages }: Conversation): readonly ChatMessage[] {
    const { messages: first = [] } = this.#session.options;
    if (first.length > 0) return first;
    const count = messages.findIndex((message) => !isSystem(message));
    return messages.slice(0, count < 0 ? messages.length : count);
  }

  /** What was answered under one system message is not put under another: the command's counts for what begins anew. */
  #tellSystem({ messages }: Conversation): void {
    const wanted = this.#session.options.messages?.find(isSystem);
    const own = messages.find(isSystem);
    if (wanted === undefined || own?.content === wanted.content) return;
    const saved = own ? 'with another system message than --system says, and keeps it' : 'without a system message';
    this.#tell([`saved ${saved}: --system counts after /reset`]);
  }

  /** The cache of the conversation, or an empty one where the command asks for another one than was saved. */
  #cacheFor(saved: Conversation): KVCache {
    const { cache: wanted, choosesCache } = this.#session;
    const before = saved.cache;
    if (!choosesCache || (before.policy === wanted.policy && sameOptions(before.options, wanted.options)))
      return before;
    this.#tell([
      `saved with another cache (${cacheWords(before)}) than this command asks for (${cacheWords(wanted)}): the next ` +
        `message reads all ${counted(saved.state.ids.length, 'token')} anew; without options of the cache, none is`,
    ]);
    before.dispose();
    return wanted.recreate();
  }

  /** Reads and answers until the end. @returns how many messages got no whole answer, because something went wrong. */
  async run(): Promise<number> {
    const io = this.#io;
    // A Ctrl-C while the model was loaded.
    io.signal.throwIfAborted();
    const lines = new LineReader(io);
    if (io.interrupts) io.interrupts.handler = () => lines.interrupt();
    const stop = () => lines.close();
    io.signal.addEventListener('abort', stop);
    try {
      if (io.stdin.isTTY)
        this.#say(`${this.#model.name} · ${samplingWords(this.#session.options)} · /help for help, Ctrl-D to leave`);
      let warned = false;
      for (;;) {
        const typed = await lines.read('> ', '… ');
        io.signal.throwIfAborted();
        if (typed === 'end') break;
        if (typed === 'interrupt') {
          if (warned || !io.stdin.isTTY) break;
          warned = true;
          tell(io, this.#style.dim('\n(once more, Ctrl-D, or /exit to leave)'));
          continue;
        }
        warned = false;
        if (!(await this.#take(typed.text, lines))) break;
      }
    } finally {
      io.signal.removeEventListener('abort', stop);
      if (io.interrupts) io.interrupts.handler = null;
      lines.close();
    }
    return this.#failures;
  }

  /** @returns whether to go on. */
  async #take(text: string, lines: LineReader): Promise<boolean> {
    if (text.trim() === '') return true;
    const isCommand = /^\/(?!\/)/.test(text);
    try {
      if (isCommand) return await this.#command(text.trim());
      await this.#answer(text.replace(/^\/\//, '/'), lines);
    } catch (error) {
      this.#io.signal.throwIfAborted();
      if (!(error instanceof KeyholdError)) throw error;
      if (!isCommand) this.#failures++;
      tell(this.#io, `${this.#style.red('error:')} ${shown(oneLine(error.message), this.#io.stderr)}`);
    }
    return true;
  }

  async #answer(message: string, lines: LineReader): Promise<void> {
    const io = this.#io;
    const stopper = new AbortController();
    lines.onInterrupt = () => stopper.abort();
    const answer = this.#conversation.say(message, { signal: AbortSignal.any([stopper.signal, io.signal]) });
    const text = new AnswerText(io);
    const written: number[] = [];
    let repeats = false;
    try {
      for await (const piece of answer) {
        await text.push(piece.text);
        written.push(...piece.tokens.map(({ token }) => token));
        if (!repeats && repeatsItself(written)) {
          repeats = true;
          stopper.abort();
        }
      }
    } catch (error) {
      if (!stopper.signal.aborted) throw error;
    } finally {
      lines.onInterrupt = null;
      text.end();
    }
    const { tokens, usage, timings, finishReason } = answer.partial!;
    const { promptTokens, cachedTokens } = usage;
    const { prefillMs, decodeMs } = timings;
    const speed = tokens.length > 1 ? ` (${rate(((tokens.length - 1) * 1000) / decodeMs)} a second)` : '';
    const ending = finishReason === 'aborted' ? ' · stopped' : finishReason === 'length' ? ' · length reached' : '';
    if (repeats)
      this.#tell([
        'The answer repeated itself and was stopped. A higher --temperature, or --repetition-penalty 1.1, may help.',
      ]);
    this.#say(
      `${counted(tokens.length, 'token')} in ${duration(decodeMs)}${speed}, ` +
        `${counted(promptTokens - cachedTokens, 'new token')} of ${promptTokens} read in ${duration(prefillMs)}${ending}`,
    );
    if (io.stdin.isTTY) this.#say();
  }

  /** @returns whether to go on. */
  async #command(line: string): Promise<boolean> {
    const [name, ...rest] = line.split(/\s+/);
    const argument = line.slice(name.length).trim();
    switch (name) {
      case '/exit':
      case '/quit':
        return false;
      case '/reset':
        this.#conversation.reset();
        this.#tell(['the conversation begins anew']);
        break;
      case '/cache':
        this.#tell(this.#cacheLines());
        break;
      case '/save':
      case '/load':
        if (rest.length === 0) this.#tell([`${name} needs the name of a file`]);
        else if (name === '/load') await this.load(argument);
        else {
          await saveConversation(this.#model, this.#conversation, argument);
          this.#tell([`saved to ${argument} and ${argument}.cache`]);
        }
        break;
      case '/help':
        this.#tell([...COMMANDS.map(([usage, what]) => `${usage.padEnd(12)}${what}`), ...MORE_HELP]);
        break;
      default:
        this.#tell([`there is no command ${name}; /help tells what there is`]);
    }
    return true;
  }

  #cacheLines(): string[] {
    const { cache, messages } = this.#conversation;
    const { total, keysAndValuesLimit: limit } = cache.memory();
    if (cache.length() === 0) return [`cache (${cache.policy}): empty, of at most ${bytes(limit)}`];
    return [
      cacheLine(reportCache(cache, this.#model.config)),
      `${counted(messages.length, 'message')} · with bookkeeping ${bytes(total)} · ${bytes(process.memoryUsage.rss())} in all`,
    ];
  }

  /** Writes the answer to a command. */
  #tell(lines: readonly string[]): void {
    for (const line of lines) tell(this.#io, this.#style.dim(line));
  }

  /** Writes a line that `--quiet` leaves out. */
  #say(line = ''): void {
    if (!this.#session.quiet) tell(this.#io, this.#style.dim(line));
  }
}
