/**
 * @file The process around the command: its streams, signals and exit code.
 */
import { EXIT } from './failure.ts';
import { type CliIo, Interrupted, OutputFailed, PipeClosed } from './io.ts';
import { run } from './program.ts';

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

const controller = new AbortController();
const interrupts: NonNullable<CliIo['interrupts']> = { handler: null };
for (const [signal, code] of Object.entries(SIGNALS))
  process.on(signal, () => {
    if (signal === 'SIGINT' && interrupts.handler) return interrupts.handler();
    // The second signal ends the process at once.
    if (controller.signal.aborted) process.exit(code);
    controller.abort(new Interrupted(code));
  });
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') return controller.abort(new PipeClosed());
  // It may come after the command has ended: what was written then is known to be lost only now.
  if (process.exitCode !== EXIT.error) process.stderr.write(`error: the output can't be written: ${error.message}\n`);
  process.exitCode = EXIT.error;
  controller.abort(new OutputFailed());
});
// Ignore EPIPE on stderr: the reader has closed the pipe.
process.stderr.on('error', () => undefined);

const io: CliIo = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
  interrupts,
};
const code = await run(process.argv.slice(2), io);
process.exitCode ||= code;
// A stdin that was opened and not read to its end would keep the process alive.
process.stdin.unref?.();
