import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold, testIo } from '../../test/support/cli.ts';
import { POLICIES } from '../kvcache/policies.ts';
import { createProgram } from './program.ts';

describe('keyhold', () => {
  it('shows what there is where it is called without arguments', async () => {
    const { code, stdout, stderr } = await keyhold([]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const name of ['generate', 'inspect', 'download', 'keyhold generate --demo']) expect(stdout).toContain(name);
    expect((await keyhold(['--help'])).stdout).toBe(stdout);
  });

  it('tells its version', async () => {
    const { version } = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'));
    expect(await keyhold(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('refuses a command that is none', async () => {
    const { code, stderr } = await keyhold(['genrate', 'x']);
    expect(code).toBe(2);
    expect(stderr).toBe("error: unknown command 'genrate' (Did you mean generate?)\nSee keyhold --help.\n");
  });

  it('has help with examples for each command', async () => {
    for (const { name } of createProgram(testIo()).commands.map((c) => ({ name: c.name() }))) {
      const { code, stdout } = await keyhold([name, '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: keyhold ${name}`);
      expect(stdout).toMatch(/Examples:\n {2}# .*\n {2}.*keyhold /);
      // On a terminal as it is wide; 80 columns elsewhere. Titles and examples are to be copied, so they do not wrap.
      const text = stdout.slice(0, stdout.indexOf('Examples:'));
      for (const line of text.split('\n')) if (line.startsWith('  ')) expect(line.length).toBeLessThanOrEqual(80);
    }
  });

  it('names all policies in the help', async () => {
    const { stdout } = await keyhold(['generate', '--help']);
    for (const [name, { summary }] of Object.entries(POLICIES))
      expect(stdout.replace(/ +/g, ' ')).toContain(` ${name} ${summary}\n`);
  });

  it('has colours in the help on a terminal only', async () => {
    expect((await keyhold(['--help'])).stdout).not.toContain('\x1b');
    expect((await keyhold(['--help'], { terminal: 80 })).stdout).toContain('\x1b[1mUsage:\x1b[22m');
    expect((await keyhold(['--help'], { terminal: 80, env: { NO_COLOR: '1' } })).stdout).not.toContain('\x1b');
  });
});
