/**
 * @file Installs the peers: they are large and needed by benchmarks only, so they have package.json files of their own.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Installs what a folder's package-lock.json says, where one of the packages is missing. It ends the process where npm
 * fails.
 */
export function installPackages(folder: string, needed: readonly string[]): void {
  if (needed.every((name) => existsSync(join(folder, 'node_modules', name, 'package.json')))) return;
  process.stderr.write(`installing ${needed.join(', ')} into ${folder}/node_modules\n`);
  const args = ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  const npm = process.env['npm_execpath'];
  const [command, rest] = npm?.endsWith('.js') ? [process.execPath, [npm, ...args]] : ['npm', args];
  const { status, error } = spawnSync(command, rest, {
    cwd: folder,
    stdio: ['ignore', 2, 2],
    shell: command === 'npm' && process.platform === 'win32',
  });
  if (status === 0) return;
  process.stderr.write(`npm ci in ${folder} failed${error ? `: ${error.message}` : ''}. Run it by hand to see why.\n`);
  process.exit(1);
}
