/**
 * @file An empty project that installs the tarball.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { docBlocks } from '../support/doc-blocks.ts';
import { command, ROOT } from './run.ts';

export class Project {
  readonly folder: string;
  readonly #tarball: string;
  readonly #env: Readonly<Record<string, string>>;

  constructor(folder: string, tarball: string, hub: string) {
    this.folder = folder;
    this.#tarball = tarball;
    this.#env = {
      HF_HOME: join(folder, 'hf'),
      HF_HUB_CACHE: '',
      HF_HUB_OFFLINE: '',
      HF_ENDPOINT: hub,
      KEYHOLD_CACHE: join(folder, 'keyhold'),
    };
  }

  /** `npm install` without flags. */
  async install(type: 'module' | 'commonjs', others: readonly string[]): Promise<void> {
    await mkdir(this.folder);
    await writeFile(join(this.folder, 'package.json'), JSON.stringify({ name: 'a-project', private: true, type }));
    await command('npm', ['install', this.#tarball, ...others], this.folder);
  }

  /** Runs a script with Node. */
  async run(file: string, code: string): Promise<string> {
    await writeFile(join(this.folder, file), code);
    return command(process.execPath, [file], this.folder, this.#env);
  }

  /** Runs a script that needs other packages. */
  async runWith(packages: readonly string[], file: string, code: string): Promise<string> {
    await command('npm', ['install', ...packages], this.folder);
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
