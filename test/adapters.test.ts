/**
 * The golden cases of adapters, merged and live: test/fixtures/adapters, made by PEFT and LitGPT.
 */
import { join } from 'node:path';
import { expect, it, test } from 'vitest';
import { adapterCase } from './parity/adapter-case.ts';
import { findCases, runCase } from './parity/walk.ts';
import { tempFolder } from './support/temp-folder.ts';

const cases = await findCases(join(import.meta.dirname, 'fixtures/adapters'), [adapterCase]);
const context = { cacheDir: await tempFolder('adapter-cases'), models: [] };

it('there are cases of both libraries', () => {
  expect(cases.filter(({ name }) => name.startsWith('litgpt-'))).toHaveLength(6);
  expect(cases.filter(({ name }) => name.startsWith('peft-')).length).toBeGreaterThan(15);
});

test.each(cases.map((found) => [found.name, found] as const))('%s', async (_, found) => {
  expect(await runCase(found, context)).toMatchObject({ passed: true });
});
