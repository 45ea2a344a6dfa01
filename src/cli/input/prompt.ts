/**
 * @file Where the prompt comes from: the command line, a file, or stdin.
 */
import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { whyUnread } from '../../checkpoint/file-source-node.ts';
import { InputError } from '../../index.ts';
import { UsageError } from '../failure.ts';
import type { CliIo } from '../io.ts';
import { utf8Text } from './text-file.ts';

export interface PromptFlags {
  readonly promptFile?: string;
}

/**
 * The prompt as text. Files and stdin lose the line end that editors and `echo` put at their end, and nothing else.
 * @throws UsageError where there is none, or two; InputError for a file that can't be read, is empty, or is no UTF-8
 * text.
 */
export async function readPrompt(argument: string | undefined, flags: PromptFlags, io: CliIo): Promise<string> {
  const { promptFile } = flags;
  if (argument !== undefined && promptFile !== undefined)
    throw new UsageError('there are two prompts: an argument and a --prompt-file; give one of them');
  if (promptFile !== undefined && promptFile !== '-') return readText(promptFile, 'prompt', io);
  if (argument !== undefined && argument !== '-') return argument;
  if (io.stdin.isTTY && argument === undefined && promptFile === undefined)
    throw new UsageError('there is no prompt: give it as an argument, name a --prompt-file, or pipe it in');
  return readText('-', 'prompt', io);
}

/**
 * The text of a file or, for `-`, of stdin, without the line end at its end.
 * @param what it is, for messages.
 * @throws InputError where it can't be read, is empty, or is no UTF-8 text.
 */
export async function readText(file: string, what: string, io: CliIo): Promise<string> {
  if (file !== '-') return ownText(await readBytes(file, `the ${what} file ${file}`), `the ${what} file ${file}`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of addAbortSignal(io.signal, io.stdin)) chunks.push(Buffer.from(chunk as Uint8Array));
  return ownText(Buffer.concat(chunks), `the ${what} from stdin`);
}

async function readBytes(path: string, name: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new InputError(`${name} ${whyUnread(cause)}`, { cause });
  }
}

function ownText(content: Uint8Array, name: string): string {
  let text: string;
  try {
    text = utf8Text(content).replace(/\r?\n$/, '');
  } catch (cause) {
    throw new InputError(`${name} is not UTF-8 text`, { cause });
  }
  if (text === '') throw new InputError(`${name} is empty`);
  return text;
}
