/**
 * What package.json's entries export, and what the compiler accepts and refuses of it (`npm run check` compiles this file).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BatchEvent, GenerateOptions, LanguageModel, LoadOptions } from '../src/node.ts';
import * as root from '../src/node.ts';
import { ENTRANCES, ROOT } from './support/example-folder.ts';

const { exports } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, { types: string; default: string } | string>;
};

describe('the root', () => {
  it('has these values', () => {
    const errors = Object.keys(root).filter((name) => name.endsWith('Error'));
    expect(errors.length).toBeGreaterThanOrEqual(13);
    expect(
      Object.keys(root)
        .filter((name) => !errors.includes(name))
        .sort(),
    ).toEqual([
      'Conversation',
      'TINY_ADAPTER',
      'TINY_MODEL',
      'definePolicy',
      'downloadFromHub',
      'loadCache',
      'loadConversation',
      'loadModel',
      'loadModelInWorker',
      'mergeAdapter',
      'openModel',
      'saveCache',
      'saveConversation',
    ]);
  });

  it('has errors whose code is that of their class', () => {
    for (const [name, made] of Object.entries(root)) {
      if (!name.endsWith('Error') || name === 'KeyholdError') continue;
      const error = new (made as typeof root.InputError)('why');
      expect(error).toBeInstanceOf(root.KeyholdError);
      expect([error.name, error.code]).toEqual([name, (made as typeof root.InputError).code]);
      expect(error.code).toMatch(/^[a-z-]+$/);
    }
  });
});

describe('package.json', () => {
  it('exports the entries that the examples are run with', () => {
    for (const [path, target] of Object.entries(exports)) {
      if (typeof target === 'string') continue;
      const source = ENTRANCES[path.replace('.', 'keyhold')];
      expect(target.types).toBe(`./${source.replace('src/', 'dist/').replace('.ts', '.d.ts')}`);
      expect(target.default).toBe(`./${source.replace('src/', 'dist/').replace('.ts', '.js')}`);
    }
  });
});

/** Never called: compiled only. */
export function typesOf(model: LanguageModel, error: root.KeyholdError, event: BatchEvent): void {
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
