/**
 * @file Models of odd shapes and options in a process of their own: ggml ends the process where a check of ours is
 * missing.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { built } from './built.ts';
import type { Fuzzer } from './fuzzers.ts';

interface Answer {
  readonly outcome?: 'opened' | 'refused';
  readonly problem?: string;
}

let child: ChildProcess | null = null;
let cacheDir: string | null = null;

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyhold-fuzz-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** @throws Error where the process was ended, or an error came that is no KeyholdError. */
export const engine: Fuzzer = async (random) => {
  const seed = random(2 ** 31);
  if (!child) {
    cacheDir ??= newFolder();
    child = fork(built(join(import.meta.dirname, 'engine-fuzz-child.ts')), [cacheDir]);
    child.unref();
    child.channel?.unref();
  }
  const { channel } = child;
  const running = child;
  channel?.ref();
  running.ref();
  running.send(seed);
  const waiting = new AbortController();
  const done = { signal: waiting.signal };
  const [answer] = await Promise.race([
    once(running, 'message', done) as Promise<[Answer]>,
    once(running, 'exit', done).then(([code, signal]): [Answer] => [
      { problem: `the process ended: ${signal ?? code}` },
    ]),
  ]);
  waiting.abort();
  channel?.unref();
  running.unref();
  if (answer.outcome) return answer.outcome;
  if (running.exitCode !== null || running.signalCode !== null) child = null;
  throw new Error(`case ${seed}: ${answer.problem}`);
};
