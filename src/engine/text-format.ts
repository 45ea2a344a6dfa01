/**
 * @file Formats of texts. Grammars are a module that is loaded by itself: pages whose requests have no formats do
 * without 19 kB.
 */
import type { TextFormat } from '../grammar/format.ts';
import type { FormatSession } from '../grammar/session.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { InputError } from '../util/errors.ts';

let grammars: typeof import('../grammar/session.ts') | null = null;

/** Makes {@link formatSession} possible. */
export async function loadFormats(): Promise<void> {
  grammars ??= await import('../grammar/session.ts');
}

/**
 * The state of a format for one sequence.
 * @param ends tokens that end the text.
 * @throws FormatError for what can't be enforced.
 */
export function formatSession(format: TextFormat, tokenizer: Tokenizer, ends: readonly number[]): FormatSession {
  if (!grammars) throw new InputError('the module of formats is not loaded: load the model with its formats');
  return grammars.formatProcessor(format, tokenizer, ends).create();
}
