/**
 * @file An empty project that installs the package.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { docBlocks } from '../support/doc-blocks.ts';
import { command, ROOT } from './run.ts';

export class Project {
  readonly folder: string;
  readonly #spec: string;
  readonly #env: Readonly<Record<string, string>>;

  /**
   * @param spec what is installed: a name of the registry, or the path of a tarball.
   * @param registry its URL.
   * @param hub the URL of the hub.
   */
  constructor(folder: string, spec: string, registry: string, hub = '') {
    this.folder = folder;
    this.#spec = spec;
    this.#env = {
      npm_config_registry: registry,
      HF_HOME: join(folder, 'hf'),
      HF_HUB_CACHE: '',
      HF_HUB_OFFLINE: '',
      HF_ENDPOINT: hub,
      KEYHOLD_CACHE: join(folder, 'keyhold'),
    };
  }

  /**
   * @param others further packages.
   * @param flags of npm; none, unless it is for another platform.
   */
  async install(
    type: 'module' | 'commonjs',
    others: readonly string[] = [],
    flags: readonly string[] = [],
  ): Promise<void> {
    await mkdir(this.folder);
    await writeFile(join(this.folder, 'package.json'), JSON.stringify({ name: 'a-project', private: true, type }));
    await command('npm', ['install', this.#spec, ...others, ...flags], this.folder, this.#env);
  }

  /** @throws where other packages of ggml are installed than these, which are named without their scope. */
  async expectGgml(...names: readonly string[]): Promise<void> {
    const found = await readdir(join(this.folder, 'node_modules/@node-llama-cpp')).catch(() => []);
    if (found.sort().join() !== names.join()) throw new Error(`packages of ggml: ${found.join()}, not ${names.join()}`);
  }

  /** Runs a script with Node. */
  async run(file: string, code: string): Promise<string> {
    await writeFile(join(this.folder, file), code);
    return command(process.execPath, [file], this.folder, this.#env);
  }

  /** Runs a script that needs other packages. */
  async runWith(packages: readonly string[], file: string, code: string): Promise<string> {
    await command('npm', ['install', ...packages], this.folder, this.#env);
    return this.run(file, code);
  }

  /**
   * Runs the examples of a page: what is TypeScript must be JavaScript, too, for a reader of the page pastes it
   * anywhere.
   */
  async runExamples(page: string): Promise<void> {
    for (const { code, language, notRun, name } of await docBlocks(ROOT, page)) {
      if (notRun !== undefined) continue;
      try {
        if (language === 'ts') await this.run('example.mjs', code);
        else await command('bash', ['-euo', 'pipefail', '-c', code], this.folder, this.#env);
      } catch (cause) {
        throw new Error(`${name}: ${(cause as Error).message}`, { cause });
      }
    }
  }
}
