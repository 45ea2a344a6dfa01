/**
 * @file Finds and runs the cases below a folder.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { KeyholdError } from '../../src/util/errors.ts';
import { adapterCase } from './adapter-case.ts';
import type { CaseContext, CaseKind } from './case.ts';
import { familyCase } from './family-case.ts';
import { policyCase } from './policy-case.ts';

/** The kinds of cases. A new kind is one row here. */
export const CASE_KINDS: readonly CaseKind[] = [familyCase, policyCase, adapterCase];

export interface FoundCase {
  readonly kind: CaseKind;
  readonly path: string;
  readonly name: string;
}

/** All cases in or below `root`, in alphabetical order. */
export async function findCases(root: string, kinds: readonly CaseKind[] = CASE_KINDS): Promise<FoundCase[]> {
  const found: FoundCase[] = [];
  const visit = async (path: string): Promise<void> => {
    const entries = (await stat(path)).isDirectory() ? (await readdir(path)).sort() : null;
    for (const kind of kinds)
      if (await kind.matches(path, entries)) {
        found.push({ kind, path, name: relative(root, path) || basename(path) });
        return;
      }
    for (const entry of entries ?? []) await visit(join(path, entry));
  };
  await visit(root);
  return found;
}

export interface CaseReport {
  readonly name: string;
  readonly kind: string;
  readonly passed: boolean;
  readonly error: number | null;
  readonly message: string;
}

/** Runs one case; whatever goes wrong is a case that failed. */
export async function runCase({ kind, path, name }: FoundCase, context: CaseContext): Promise<CaseReport> {
  try {
    const { error, failures, note } = await kind.run(path, context);
    return { name, kind: kind.name, passed: failures.length === 0, error, message: failures.join('; ') || note };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const message =
      error instanceof KeyholdError ? `${error.name}: ${text}` : error instanceof Error ? (error.stack ?? text) : text;
    return { name, kind: kind.name, passed: false, error: null, message };
  }
}
