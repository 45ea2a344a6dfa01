/**
 * @file What the compiler accepts and refuses of the public types: `npm run check` compiles this file, nothing runs it.
 */
import type { BatchEvent, GenerateOptions, KeyholdError, LanguageModel, LoadOptions } from '../../src/node.ts';

export function typesOf(model: LanguageModel, error: KeyholdError, event: BatchEvent): void {
  const load: LoadOptions = { weights: 'int8', threads: 2 };
  // @ts-expect-error there is no such format
  const format: LoadOptions = { weights: 'q8' };
  // @ts-expect-error there is no such option
  const option: GenerateOptions = { maxTokens: 3 };
  // @ts-expect-error code is a union
  if (error.code === 'cachefull') return;
  if (error.code === 'cache-full') return;
  if (event.type === 'end') event.result.text.trim();
  // @ts-expect-error an error has no result
  if (event.type === 'error') event.result.text.trim();
  // @ts-expect-error text comes in chunks
  const text: string = model.generate('prompt');
  const whole: Promise<string> = model.generate('prompt', { temperature: 0.5, cache: { policy: 'h2o' } }).text();
  const chat: Promise<string> = model.chat([{ role: 'user', content: 'Hello' }]).text();
  void [load, format, option, text, whole, chat];
}
