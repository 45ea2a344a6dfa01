/**
 * @file A folder in which the examples of README, docs and examples/ are run against the sources, as in a project that
 * has Keyhold installed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { transform } from 'esbuild';
import { built } from './built.ts';

export const ROOT = resolve(import.meta.dirname, '../..');

/** Where `import 'keyhold'` leads, as package.json's exports say of the built files. */
export const ENTRANCES: Readonly<Record<string, string>> = {
  keyhold: 'src/node.ts',
  'keyhold/eval': 'src/exports/eval-node.ts',
  'keyhold/policies': 'src/exports/policies-node.ts',
  'keyhold/adapters': 'src/exports/adapters-node.ts',
  'keyhold/checkpoint': 'src/exports/checkpoint-node.ts',
  'keyhold/server': 'src/exports/server.ts',
  'keyhold/ai-sdk': 'src/exports/ai-sdk-node.ts',
  'keyhold/web': 'src/exports/web.ts',
  'keyhold/web/worker': 'src/web/thread.ts',
};

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

export class ExampleFolder {
  readonly path: string;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(path: string, env: Readonly<Record<string, string>>) {
    this.path = path;
    this.#env = env;
  }

  /** @param env besides that of this process. */
  static async create(env: Readonly<Record<string, string>> = {}): Promise<ExampleFolder> {
    const path = await mkdtemp(join(tmpdir(), 'keyhold-docs-'));
    for (const folder of ['models', 'test']) await symlink(join(ROOT, folder), join(path, folder));
    await mkdir(join(path, 'node_modules/.bin'), { recursive: true });
    await symlink(ROOT, join(path, 'node_modules/keyhold'));
    await mkdir(join(path, 'bin'));
    const command = `exec ${process.execPath} ${built(join(ROOT, 'src/cli/main.ts'))}`;
    const npx = `[ "$1" = keyhold ] && shift && ${command} "$@"`;
    for (const bin of ['bin', 'node_modules/.bin'])
      await writeFile(join(path, bin, 'keyhold'), `#!/bin/sh\n${command} "$@"\n`, { mode: 0o755 });
    await writeFile(join(path, 'bin/npx'), `#!/bin/sh\n${npx}\n`, { mode: 0o755 });
    return new ExampleFolder(path, {
      PATH: `${join(path, 'bin')}:${process.env.PATH}`,
      NO_COLOR: '1',
      FORCE_COLOR: '0',
      HF_HOME: join(path, 'hf'),
      HF_HUB_CACHE: '',
      HF_HUB_OFFLINE: '',
      KEYHOLD_CACHE: join(path, 'keyhold'),
      ...env,
    });
  }

  /** Puts packages of this project beside Keyhold, as `npm install` does. */
  async install(packages: Iterable<string>): Promise<void> {
    for (const name of packages) {
      const path = join(this.path, 'node_modules', name);
      await mkdir(dirname(path), { recursive: true });
      await symlink(await realpath(join(ROOT, 'node_modules', name)), path);
    }
  }

  remove(): Promise<void> {
    return rm(this.path, { recursive: true, force: true });
  }

  /** Runs a module with the sources in place of the package. @param input is piped in. */
  async runModule(file: string, code: string, args: readonly string[] = [], input?: string): Promise<Outcome> {
    return finished(await this.startModule(file, code, args, {}, input));
  }

  /** Starts a module, which goes on until it ends or is ended. */
  async startModule(
    file: string,
    code: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    input?: string,
  ): Promise<ChildProcess> {
    let mapped = code;
    for (const [name, path] of Object.entries(ENTRANCES))
      mapped = mapped.replaceAll(`from '${name}'`, `from ${JSON.stringify(built(join(ROOT, path)))}`);
    const typed = /\.mts$/.test(file);
    if (typed) mapped = (await transform(mapped, { loader: 'ts', target: 'node20' })).code;
    const program = typed ? file.replace(/mts$/, 'mjs') : file;
    await writeFile(join(this.path, program), mapped);
    return this.#start(process.execPath, [program, ...args], env, input);
  }

  runShell(code: string): Promise<Outcome> {
    return finished(this.#start('bash', ['-euo', 'pipefail', '-c', code], {}));
  }

  #start(
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    input?: string,
  ): ChildProcess {
    const child = spawn(command, args, {
      cwd: this.path,
      env: { ...process.env, ...this.#env, ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    child.stdin?.end(input);
    return child;
  }
}

/** Waits for the end of a process, and gives all that it has written. */
export function finished(child: ChildProcess): Promise<Outcome> {
  return new Promise((done, fail) => {
    let output = '';
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    child.once('error', fail);
    child.once('close', (code) => done({ code, output }));
  });
}
