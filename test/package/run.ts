/**
 * @file Runs commands and checks one after the other, and counts them.
 */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');

export type Check = readonly [name: string, run: () => Promise<unknown>];

/** Runs the checks, prints a line for each, and returns how many failed. */
export async function runChecks(checks: readonly Check[]): Promise<number> {
  let failed = 0;
  for (const [name, run] of checks) {
    const begin = performance.now();
    const error = await run().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    console.log(`${error === undefined ? '✓' : '✗'} ${name} (${seconds} s)`);
    if (error === undefined) continue;
    failed++;
    console.log(error instanceof Error ? error.message : String(error));
  }
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  return failed;
}

/** Runs a program to its end, and returns its stdout. @throws with all output where its exit code is not 0. */
export function command(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...userEnvironment(), NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, all] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      all += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      all += text;
    });
    child.once('error', fail);
    child.once('close', (code) => {
      if (code === 0) done(stdout);
      else fail(new Error(`${program} ${args.join(' ')}: exit code ${code}\n${all.slice(-4000)}`));
    });
  });
}

/** The environment without what npm sets for its scripts: `npm install` is to run as from a shell. */
function userEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_|^INIT_CWD$|^NODE_OPTIONS$/i.test(name)),
  );
}
