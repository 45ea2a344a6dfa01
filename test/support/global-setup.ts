/**
 * @file Before all tests: a folder for temporary files, which goes with the run, and the project's modules for child
 * processes.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { buildModules } from './built.ts';

const PREFIX = 'keyhold-tests-';

export default function setup(project: TestProject): () => void {
  const base = tmpdir();
  for (const name of readdirSync(base))
    if (isLeftOver(name)) rmSync(join(base, name), { recursive: true, force: true });
  const folder = join(base, PREFIX + process.pid);
  mkdirSync(folder);
  // What os.tmpdir() follows, here and in child processes.
  for (const variable of ['TMPDIR', 'TEMP', 'TMP']) process.env[variable] = folder;
  let remove = buildModules();
  project.onTestsRerun(() => {
    remove();
    remove = buildModules();
  });
  return () => rmSync(folder, { recursive: true, force: true });
}

/** Whether it is the folder of a run that was ended before it could remove it. */
function isLeftOver(name: string): boolean {
  const pid = name.startsWith(PREFIX) ? Number(name.slice(PREFIX.length)) : 0;
  if (pid === 0) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
