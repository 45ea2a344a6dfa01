import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PLAIN } from '../../../test/support/chat-templates.ts';
import { CliProcess, keyhold, testIo } from '../../../test/support/cli.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadModel } from '../../node.ts';
import { ChatSession } from '../chat-session.ts';
import { LineReader } from '../input/line-reader.ts';
import { Interrupted } from '../io.ts';
import { SUGGESTED_MODELS } from '../models/suggested-models.ts';
import { run } from '../program.ts';

const folder = await tempFolder('chat');
const cacheDir = join(folder, 'cache');
const template = join(folder, 'plain.jinja');
beforeAll(async () => {
  vi.stubEnv('KEYHOLD_CACHE', cacheDir);
  await writeFile(template, PLAIN);
});
afterAll(() => {
  vi.unstubAllEnvs();
});

const chat = (lines: readonly string[], ...flags: string[]) =>
  keyhold(['chat', '--template', template, '-n', '8', '--seed', '3', ...flags], { stdin: `${lines.join('\n')}\n` });

describe('keyhold chat', () => {
  it('answers line by line, and goes on from turn to turn', async () => {
    const { code, stdout, stderr } = await chat(['Hello', 'And then?']);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n').length).toBeGreaterThanOrEqual(2);
    const told = [...stderr.matchAll(/8 tokens in .*, (\d+) new tokens? of (\d+) read in .* length reached/g)];
    expect(told).toHaveLength(2);
    const [[, first, all], [, second, total]] = told.map((match) => match.map(Number));
    expect(first).toBe(all);
    expect(second).toBeLessThan(total - first);
    expect((await chat(['Hello', 'And then?'])).stdout).toBe(stdout);
  });

  it('gives answers and nothing else where it is told to be quiet', async () => {
    const { stdout, stderr } = await chat(['Hello'], '-q');
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^\S.*\n$/s);
  });

  it('takes several lines as one message', async () => {
    const one = await chat(['first\\', 'second'], '-q');
    const fenced = await chat(['"""first', 'second"""'], '-q');
    const block = await chat(['"""', 'first', 'second', '"""'], '-q');
    expect(one.stdout).not.toBe('');
    expect(fenced.stdout).toBe(one.stdout);
    expect(block.stdout).toBe(one.stdout);
  });

  it('knows commands', async () => {
    const lines = ['/help', '/cache', 'Hello there', '/cache', '/reset', '/cache', '/nope', '/exit', 'never'];
    const { code, stdout, stderr } = await chat(lines, '-q', '-c', '16');
    expect(code).toBe(0);
    expect(stdout.trim().split('\n').length).toBeLessThan(4);
    expect(stderr).toMatch(/\/cache {6}what the cache holds/);
    expect(stderr).toMatch(/cache \(lastrec\): empty, of at most 49\.2 kB/);
    expect(stderr).toMatch(/cache \(lastrec\): holds 16 of \d+ tokens \(positions 0–3, .*\), dropped \d+/);
    expect(stderr).toMatch(/2 messages · with bookkeeping/);
    expect(stderr).toMatch(/the conversation begins anew\ncache \(lastrec\): empty/);
    expect(stderr).toMatch(/there is no command \/nope; \/help tells what there is/);
  });

  it('sends what begins with two slashes', async () => {
    const { stdout, stderr } = await chat(['//etc/passwd']);
    expect(stdout).not.toBe('');
    expect(stderr).not.toContain('no command');
  });

  it('goes on with a saved conversation in another cache, where the options ask for one', async () => {
    const file = join(folder, 'other-cache.json');
    await chat(['Hello', 'And then?', `/save ${file}`], '-q', '-t', '0', '-c', '64');
    const same = await chat(['Why?', '/cache'], '-t', '0', '-c', '64', '--load', file);
    const plain = await chat(['Why?', '/cache'], '-t', '0', '--load', file);
    for (const { stdout, stderr } of [same, plain]) {
      expect(stdout).toBe(plain.stdout);
      expect(stderr).not.toContain('another cache');
      expect(stderr).toContain('cache (lastrec)');
    }
    const other = await chat(['Why?', '/cache'], '-q', '-t', '0', '-c', '40', '-p', 'h2o', '--load', file);
    expect(other.stderr).toMatch(
      /saved with another cache \(lastrec, 64 slots\) than this command asks for \(h2o, 40 slots\): the next message reads all \d+ tokens anew/,
    );
    expect(other.stderr).toMatch(/cache \(h2o\): holds 40 of/);
    expect(other.code).toBe(0);
  });

  it('saves, loads, and goes on', async () => {
    const file = join(folder, 'saved.json');
    const whole = await chat(['Hello', 'And then?', 'Why?'], '-q', '-t', '0');
    const saved = await chat(['Hello', 'And then?', `/save ${file}`], '-q', '-t', '0');
    expect(saved.stderr).toBe(`saved to ${file} and ${file}.cache\n`);
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({
      keyhold: 'conversation',
      messages: { length: 4 },
    });
    const loaded = await chat([`/load ${file}`, 'Why?'], '-t', '0');
    expect(saved.stdout + loaded.stdout).toBe(whole.stdout);
    expect(loaded.stderr).toMatch(/4 messages from .*saved\.json/);
    const flag = await chat(['Why?'], '-q', '-t', '0', '--load', file);
    expect(flag.stdout).toBe(loaded.stdout);
    const none = await chat(['/load', `/load ${join(folder, 'none')}`, '/save'], '-q');
    expect(none.stderr).toMatch(
      /\/load needs the name of a file\nerror: .*none: does not exist; name the file of a saved conversation\n\/save needs/,
    );
    expect(none.code).toBe(0);
    // Said before a model is opened: there is none of this name.
    const early = await chat([], '-m', join(folder, 'no-model'), '--load', join(folder, 'none'));
    expect(early.stderr).toMatch(/^error: .*none: does not exist/);
    await rm(`${file}.cache`);
    const half = await chat([], '-m', join(folder, 'no-model'), '--load', file);
    expect(half.stderr).toMatch(/^error: .*saved\.json\.cache: ENOENT/);
  });

  it('keeps the system message of a saved conversation until /reset, and says so where --system is another', async () => {
    const [plain, brief] = [join(folder, 'no-system.json'), join(folder, 'system.json')];
    await chat(['Hello', `/save ${plain}`], '-q', '-t', '0');
    await chat(['Hello', `/save ${brief}`], '-q', '-t', '0', '--system', 'Be brief.');
    const lines = ['Why?', '/reset', 'Why?'];
    const other = await chat(lines, '-q', '-t', '0', '--load', brief, '--system', 'Be kind.');
    expect(other.stderr).toMatch(
      /^saved with another system message than --system says, and keeps it: --system counts after \/reset\n/,
    );
    const going = await chat(['Why?'], '-q', '-t', '0', '--load', brief);
    const anew = await chat(['Why?'], '-q', '-t', '0', '--system', 'Be kind.');
    expect(other.stdout).toBe(going.stdout + anew.stdout);
    const added = await chat([`/load ${plain}`], '-q', '--system', 'Be kind.');
    expect(added.stderr).toBe('saved without a system message: --system counts after /reset\n');
    for (const same of [[brief, '--system', 'Be brief.'], [brief], [plain]])
      expect((await chat([], '-q', '--load', ...same)).stderr).toBe('');
  });

  it.each([
    ['by --load', (file: string, lines: readonly string[]) => chat(lines, '-q', '-t', '0', '--load', file)],
    ['by /load', (file: string, lines: readonly string[]) => chat([`/load ${file}`, ...lines], '-q', '-t', '0')],
    [
      'into another cache',
      (file: string, lines: readonly string[]) => chat(lines, '-q', '-t', '0', '-c', '200', '--load', file),
    ],
  ])('keeps the system message of a conversation that was loaded %s after /reset, too', async (_, load) => {
    const [brief, again, plain] = ['brief.json', 'again.json', 'plain.json'].map((name) => join(folder, name));
    await chat(['Hello', `/save ${brief}`], '-q', '-t', '0', '--system', 'Be brief.');
    await load(brief, ['Why?', '/reset', 'Why?', `/save ${again}`]);
    const messagesOf = async (file: string) => JSON.parse(await readFile(file, 'utf8')).messages;
    expect(await messagesOf(again)).toMatchObject([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Why?' },
      { role: 'assistant' },
    ]);
    // One without a system message has none after it, either.
    await chat(['Hello', `/save ${plain}`], '-q', '-t', '0');
    await load(plain, ['/reset', 'Why?', `/save ${again}`]);
    expect(await messagesOf(again)).toMatchObject([{ role: 'user' }, { role: 'assistant' }]);
  });

  it('goes on after what goes wrong, and says so in the end', async () => {
    const { code, stdout, stderr } = await chat(['word '.repeat(60), 'Hi'], '-q', '-p', 'dense', '-c', '40');
    expect(stdout).not.toBe('');
    expect(stderr).toMatch(/error: the dense cache holds 0 of 40 tokens .*\nerror: a message got no whole answer\n$/);
    expect(code).toBe(1);
  });

  it('tells the model what --system says, and the template what it asks for', async () => {
    const odd = join(folder, 'odd.jinja');
    await writeFile(
      odd,
      '{{ mode }}{{ count + 1 }}{% if deep %}{% for m in messages %}{{ m.role }}{% endfor %}{% endif %}',
    );
    const { stderr } = await keyhold(
      [
        'chat',
        '--template',
        odd,
        '--template-option',
        'mode=x y',
        '--template-option',
        'count=3',
        '--template-option',
        'deep=true',
        '-s',
        'Be brief.',
        '-n',
        '1',
      ],
      { stdin: 'Hi\n' },
    );
    await using model = await loadModel('models/tiny', { weights: 'float32', cacheDir, generationConfig: false });
    const length = model.tokenizer.encode('x y4systemuser', { addSpecialTokens: false }).length;
    expect(stderr).toMatch(new RegExp(`${length} new tokens of ${length} read`));
  });

  it('says what to do where a model has no template', async () => {
    const { code, stderr } = await keyhold(['chat', 'keyhold/tiny'], { stdin: 'Hi\n' });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /has no chat template: .* name a template with --template FILE, or write with keyhold generate/,
    );
    const missing = await keyhold(['chat', '--template', join(folder, 'nope')], { stdin: '' });
    expect(missing.code).toBe(2);
    expect((await keyhold(['chat', '--template-option', 'x'], { stdin: '' })).code).toBe(2);
  });

  it('does not begin with what can not be answered', async () => {
    const broken = join(folder, 'broken.jinja');
    await writeFile(broken, '{{ broken');
    const bad = await keyhold(['chat', '--template', broken], { stdin: 'Hi\n' });
    expect(bad).toMatchObject({ code: 2, stdout: '' });
    expect(bad.stderr).toMatch(/^error: --template .*broken\.jinja: the chat template can't be read: .*\n$/);
    const ids = await keyhold(['chat', '--template', template, '-m', caseFolder('llama')], { stdin: 'Hi\n' });
    expect(ids.code).toBe(1);
    expect(ids.stderr).toMatch(/has no tokenizer\.json, which a conversation needs; add the file\n$/);
  });

  it('tells errors in one line, whatever is in a file', async () => {
    const notes = join(folder, 'notes.txt');
    await writeFile(notes, 'some\nnotes\n');
    const { stderr } = await chat([`/load ${notes}`], '-q');
    expect(stderr).toMatch(/^error: .*notes\.txt: this is not a saved conversation: .*\n$/);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  it('ends where there was a Ctrl-C before it began', async () => {
    await using model = await loadModel('models/tiny', { weights: 'float32', cacheDir, generationConfig: false });
    const io = testIo({ signal: AbortSignal.abort(new Interrupted(130)) });
    const options = { template: PLAIN };
    const session = new ChatSession(model, io, {
      options,
      cache: model.createCache(),
      choosesCache: false,
      policy: undefined,
      quiet: true,
    });
    await expect(session.run()).rejects.toThrow(Interrupted);
  });

  it('asks at a terminal, and leaves with Ctrl-D', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    const io = { ...testIo({ terminal: 80 }), stdin };
    const done = run(['chat', '--template', template, '-n', '4', '--seed', '1'], io);
    await until(() => io.stdout.text.includes('> '));
    stdin.write('Hello\r');
    await until(() => io.stdout.text.split('> ').length > 2);
    stdin.write('\x04');
    expect(await done).toBe(0);
    expect(io.stderr.text).toMatch(/keyhold\/tiny · temperature 0\.8, top-p 0\.95 · \/help for help, Ctrl-D to leave/);
  });

  it('takes lines that are pasted as one message', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    const io = { ...testIo({ terminal: 80 }), stdin };
    const done = run(['chat', '--template', template, '-n', '2', '-t', '0'], io);
    await until(() => io.stdout.text.includes('> '));
    expect(io.stdout.text).toContain('\x1b[?2004h');
    stdin.write('\x1b[200~one\rtwo\rthree\x1b[201~');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(io.stderr.text).not.toContain('new tokens');
    stdin.write('\r');
    await until(() => io.stdout.text.split('> ').length > 2);
    stdin.write('\x04');
    expect(await done).toBe(0);
    expect(io.stderr.text.split('new tokens').length).toBe(2);
    expect(io.stdout.text).toContain('\x1b[?2004l');
  });

  it('names models where none is given', async () => {
    const { code, stderr } = await keyhold(['chat'], { stdin: 'Hi\n' });
    expect(code).toBe(2);
    for (const { name } of SUGGESTED_MODELS)
      expect(stderr).toMatch(new RegExp(`keyhold chat ${name} +# downloads .*GB`));
  });

  it('stops an answer at Ctrl-C, not the program', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    const io = { ...testIo({ terminal: 80 }), stdin };
    const done = run(['chat', '--template', template, '-n', '100000', '-c', '64', '--seed', '1'], io);
    await until(() => io.stdout.text.includes('> '));
    stdin.write('Hello\r');
    await until(() => io.stdout.text.length > 200);
    stdin.write('\x03');
    await until(() => io.stderr.text.includes('stopped'));
    stdin.write('/cache\r');
    await until(() => io.stderr.text.includes('2 messages'));
    // A line that is half typed is forgotten; twice in a row leaves.
    stdin.write('half a li\x03');
    await until(() => io.stderr.text.includes('once more'));
    stdin.write('\x03');
    expect(await done).toBe(0);
  });
});

describe('the process', () => {
  it('lives on after a Ctrl-C that stops an answer', async () => {
    const args = ['chat', '--template', template, '-n', '100000', '-c', '64', '--seed', '1'];
    const process = new CliProcess(args, { KEYHOLD_CACHE: cacheDir });
    process.child.stdin!.write('Hello\n');
    await process.untilOutput(100);
    process.child.kill('SIGINT');
    await until(() => process.stderr.includes('stopped'));
    process.child.stdin!.end('/cache\n');
    const { code, stderr } = await process.end();
    expect(code).toBe(0);
    expect(stderr).toMatch(/2 messages/);
  });
});

describe('LineReader', () => {
  it('ends in the middle of a message, and keeps what was typed ahead', async () => {
    const io = testIo({ stdin: 'one\ntwo\\\n' });
    const lines = new LineReader(io);
    expect(await lines.read('', '')).toEqual({ text: 'one' });
    expect(await lines.read('', '')).toBe('end');
    expect(await lines.read('', '')).toBe('end');
    lines.close();
  });
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((done) => setTimeout(done, 5));
}
