import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/families/read-config.ts';
import { REFUSED_TYPES } from '../../src/families/wrappers.ts';
import { familyCases } from './cases.ts';
import type { FamilyReport } from './one.ts';
import { refusedOptions } from './refusals.ts';
import { differences, refusedTypes, supportPage } from './table.ts';

const PAGE = join(import.meta.dirname, '../../docs/families.md');

describe('families', () => {
  it('have a golden case each', () => {
    for (const { name, cases } of familyCases()) expect(cases.length, name).toBeGreaterThan(0);
  });

  it('refuse by name what they do not compute, in the words of the page', async () => {
    const page = await readFile(PAGE, 'utf8');
    for (const { option, words } of refusedOptions()) {
      expect(page).toContain(option);
      expect(page).toContain(words);
    }
  });

  it('of types that are out of reach are refused on the page with the reason', async () => {
    expect(await readFile(PAGE, 'utf8')).toContain(refusedTypes());
    for (const model_type of Object.keys(REFUSED_TYPES))
      expect(() => readConfig({ model_type })).toThrow(`not supported: ${REFUSED_TYPES[model_type]}`);
  });

  it('are all on the page, with their cases', async () => {
    const page = await readFile(PAGE, 'utf8');
    for (const { family, cases } of familyCases()) {
      for (const type of family.modelTypes) expect(page).toContain(`\`${type}\``);
      for (const folder of cases) expect(page).toContain(folder.slice(folder.lastIndexOf('/') + 1));
    }
  });
});

describe('the house', () => {
  it('has no long file of the model, and families that are short', async () => {
    const folder = join(import.meta.dirname, '../../src/model');
    const files = (await readdir(folder, { recursive: true })).filter((name) => /(?<!\.test)\.ts$/.test(name));
    for (const file of files) {
      const text = await readFile(join(folder, file), 'utf8');
      expect(text.split('\n').length, file).toBeLessThanOrEqual(400);
      // What a family does otherwise is a value of its config: the model's code knows none by name.
      for (const { family } of familyCases())
        for (const type of family.modelTypes) expect(text, file).not.toMatch(new RegExp(`['"\`]${type}['"\`]`));
    }
    const neox = await readFile(join(folder, '../families/gpt-neox.ts'), 'utf8');
    const japanese = neox.slice(neox.indexOf('export const gptNeoxJapanese'));
    expect(japanese.slice(0, japanese.indexOf('\n};')).split('\n').length).toBeLessThan(40);
  });
});

describe('the page', () => {
  const report = (error: number, int8: number): FamilyReport => ({
    name: 'llama',
    passed: true,
    cases: [{ name: 'llama', passed: true, message: '' }],
    error,
    agreement: { int8, int4: 0.5 },
  });
  const page = (error: number, int8: number) => supportPage([report(error, int8)], []);

  it('is as measured where numbers drift as they may', () => {
    expect(differences(page(4e-6, 0.95), page(4e-6, 0.95))).toEqual([]);
    expect(differences(page(4e-6, 0.95), page(6e-6, 0.92))).toEqual([]);
    expect(differences(page(4e-6, 0.95), page(1e-6, 0.95))).toEqual([]);
  });

  it('is not where they do not', () => {
    expect(differences(page(4e-6, 0.95), page(9e-5, 0.95))).toEqual([expect.stringMatching(/^line \d+: .*2e−4/)]);
    expect(differences(page(4e-6, 0.95), page(4e-6, 0.8))).toHaveLength(1);
    expect(differences('', page(4e-6, 0.95)).length).toBeGreaterThan(5);
    const more = supportPage([{ ...report(4e-6, 0.95), cases: [] }], []);
    expect(differences(page(4e-6, 0.95), more)).toHaveLength(1);
  });
});
