#!/usr/bin/env node
/**
 * @file The process around the command: its streams, signals and exit code.
 */
import { type CliIo, Interrupted, PipeClosed } from './io.ts';
import { run } from './program.ts';

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

const controller = new AbortController();
for (const [signal, code] of Object.entries(SIGNALS))
  process.on(signal, () => {
    // Whoever asks twice does not want to wait for the end of what is going on.
    if (controller.signal.aborted) process.exit(code);
    controller.abort(new Interrupted(code));
  });
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  controller.abort(error.code === 'EPIPE' ? new PipeClosed() : error);
});
// Nobody is left to be told that nobody listens.
process.stderr.on('error', () => undefined);

const io: CliIo = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
};
process.exitCode = await run(process.argv.slice(2), io);
// A stdin that was opened and not read to its end would keep the process alive.
process.stdin.unref?.();
