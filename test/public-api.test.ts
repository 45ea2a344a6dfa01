/**
 * What package.json's entries export; support/public-types.ts has what the compiler accepts and refuses.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as policies from '../src/exports/policies.ts';
import * as functions from '../src/kvcache/policy-functions.ts';
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
      'loadEncoder',
      'loadModel',
      'loadModelInWorker',
      'loadReranker',
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

describe('keyhold/policies', () => {
  it('has a function for each included policy', () => {
    expect(policies).toMatchObject(functions);
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
