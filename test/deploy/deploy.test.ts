/**
 * The files of deploy/: proxies accept their configurations, and another replica goes on where one was killed. Tests
 * whose programs are not installed are skipped.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CliProcess } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { eventsOf } from '../support/served.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const SESSIONS = 12;

interface Proxy {
  readonly file: string;
  readonly version: readonly string[];
  check(path: string): readonly string[];
  run(path: string): readonly string[];
}
const PROXIES: Readonly<Record<string, Proxy>> = {
  nginx: {
    file: 'nginx.conf',
    version: ['-v'],
    check: (path) => ['-t', '-c', path],
    run: (path) => ['-e', 'stderr', '-c', path, '-g', `daemon off; pid ${path}.pid;`],
  },
  haproxy: {
    file: 'haproxy.cfg',
    version: ['-v'],
    check: (path) => ['-c', '-f', path],
    run: (path) => ['-db', '-f', path],
  },
};

const isInstalled = (program: string, args: readonly string[]): boolean => {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyhold-deploy-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A configuration with the addresses of this machine. */
async function configured(file: string, front: number, replicas: readonly number[]): Promise<string> {
  const text = (await readFile(join(DEPLOY, file), 'utf8'))
    .replace(/(listen |bind :)8080/, (_, start: string) => `${start === 'bind :' ? 'bind ' : start}127.0.0.1:${front}`)
    .replace(/keyhold-(\d):8080/g, (_, i: string) => `127.0.0.1:${replicas[Number(i)]}`);
  const path = join(folder, `${front}-${file}`);
  await writeFile(path, text);
  return path;
}

interface Replica {
  readonly url: string;
  readonly command: CliProcess;
}

async function startReplica(sessionDir: string): Promise<Replica> {
  const args = [
    'serve',
    '--port',
    '0',
    '--name',
    'tiny',
    '--session-dir',
    sessionDir,
    '-p',
    'lastrec',
    '-c',
    '256',
    '-q',
  ];
  const command = new CliProcess(args, { KEYHOLD_CACHE: join(folder, 'cache') });
  await expect.poll(() => command.stderr, { timeout: 90_000 }).toMatch(/served at (\S+)\/v1/);
  return { command, url: /served at (\S+)\/v1/.exec(command.stderr)![1] };
}

const ask = (url: string, session: string, prompt: string, more: object = {}) =>
  fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-session-id': session },
    body: JSON.stringify({ model: 'tiny', prompt, max_tokens: 4, temperature: 0, ignore_eos: true, ...more }),
  });

/** Requests that a replica has answered. */
async function answered({ url }: Replica): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return [...text.matchAll(/^keyhold_request_success_total\{.*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
}

describe.each(Object.entries(PROXIES))('%s', (program, { file, version, check, run }) => {
  const there = isInstalled(program, version);

  it.skipIf(!there)('accepts its configuration', async () => {
    const path = await configured(file, 8080, [8081, 8082]);
    expect(() => execFileSync(program, check(path), { stdio: 'pipe' })).not.toThrow();
  });

  it.skipIf(!there)('sends a session to one replica, and to the other one when that was killed', async () => {
    const sessionDir = join(folder, `sessions-${program}`);
    const replicas = await Promise.all([startReplica(sessionDir), startReplica(sessionDir)]);
    const front = await freePort();
    const path = await configured(
      file,
      front,
      replicas.map(({ url }) => Number(new URL(url).port)),
    );
    const proxy: ChildProcess = spawn(program, run(path), { stdio: 'ignore' });
    const url = `http://127.0.0.1:${front}`;
    try {
      await expect
        .poll(
          () =>
            fetch(`${url}/health/ready`).then(
              ({ ok }) => ok,
              () => false,
            ),
          { timeout: 20_000 },
        )
        .toBe(true);
      const first = new Map<string, string>();
      for (let i = 0; i < SESSIONS; i++) {
        const { choices } = await (await ask(url, `s${i}`, `In the beginning ${i}`)).json();
        first.set(`s${i}`, `In the beginning ${i}${choices[0].text}`);
      }
      const counts = await Promise.all(replicas.map(answered));
      expect(counts.reduce((a, b) => a + b)).toBe(SESSIONS);
      expect(Math.min(...counts)).toBeGreaterThan(0);
      // The same sessions go to the same replicas.
      for (const [session, text] of first) {
        const { usage } = await (await ask(url, session, `${text} and`)).json();
        expect(usage.prompt_tokens_details.cached_tokens, session).toBeGreaterThan(5);
      }
      expect(await Promise.all(replicas.map(answered))).toEqual(counts.map((count) => 2 * count));

      // Whose replica is killed is seen by what it answers.
      const before = await answered(replicas[0]);
      await (await ask(url, 's0', first.get('s0')!)).json();
      const dead = replicas[(await answered(replicas[0])) > before ? 0 : 1];
      const broken = await ask(url, 's0', first.get('s0')!, { max_tokens: 2000, stream: true });
      const reader = broken.body!.getReader();
      await reader.read();
      dead.command.child.kill('SIGKILL');
      const rest = (async () => {
        let text = '';
        for (let next = await reader.read(); !next.done; next = await reader.read())
          text += new TextDecoder().decode(next.value);
        return text;
      })();
      // A stream that was cut off does not look like one that has ended.
      expect(await rest.catch((error: Error) => `${error.message}`)).not.toContain('[DONE]');
      const next = await ask(url, 's0', `${first.get('s0')} and`, {
        stream: true,
        stream_options: { include_usage: true },
      });
      expect(next.status).toBe(200);
      const events = await eventsOf(next);
      expect(events.at(-1)).toBe('[DONE]');
      // The answers before were saved in the folder that both replicas have.
      expect(JSON.parse(events.at(-2)!).usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(5);
    } finally {
      proxy.kill();
      for (const { command } of replicas) command.child.kill('SIGKILL');
      await Promise.all(replicas.map(({ command }) => command.end()));
    }
  });
});

describe('the manifests', () => {
  const readText = (file: string) => readFile(join(DEPLOY, file), 'utf8');
  const container = async () => {
    const [, , set] = parseAllDocuments(await readText('kubernetes/keyhold.yaml')).map((each) => each.toJS());
    return set.spec.template.spec.containers[0];
  };

  it('start a server whose probes answer without a key, under any name', async () => {
    const dockerfile = await readText('Dockerfile');
    const entry: string[] = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)![1]);
    expect(entry.slice(0, 4)).toEqual(['tini', '--', 'keyhold', 'serve']);
    const { args, livenessProbe, readinessProbe, startupProbe, ports } = await container();
    const flags = entry.slice(4).map((each) => each.replace('/data/', `${folder}/data/`));
    // The small model stands for the one of the manifest.
    const command = new CliProcess(['serve', ...flags, 'keyhold/tiny', ...args.slice(1), '--port', '0', '-q'], {
      KEYHOLD_CACHE: join(folder, 'cache'),
      KEYHOLD_API_KEY: 'secret',
    });
    try {
      await expect.poll(() => command.stderr, { timeout: 90_000 }).toMatch(/served at (\S+)\/v1/);
      const { port } = new URL(/served at (\S+)\/v1/.exec(command.stderr)![1]);
      const health = /fetch\('http:\/\/127\.0\.0\.1:(\d+)(\/[^']+)'\)/.exec(dockerfile)!;
      const status = (path: string) =>
        new Promise((resolve, reject) =>
          get({ host: '127.0.0.1', port, path, headers: { host: '10.0.0.7:8080' } }, (answer) => {
            answer.resume();
            resolve(answer.statusCode);
          }).on('error', reject),
        );
      for (const { httpGet } of [livenessProbe, readinessProbe, startupProbe])
        expect(await status(httpGet.path), httpGet.path).toBe(200);
      expect(await status(health[2])).toBe(200);
      expect(await status('/metrics')).toBe(200);
      expect(await status('/v1/models')).toBe(401);
      // The port that is not stated is the one that all files name.
      expect(new Set([health[1], /^EXPOSE (\d+)$/m.exec(dockerfile)![1], String(ports[0].containerPort)])).toEqual(
        new Set(['8080']),
      );
    } finally {
      command.child.kill('SIGTERM');
      await command.end();
    }
  });

  it('are YAML that names the routes and the flags that there are', async () => {
    const text = await readFile(join(DEPLOY, 'kubernetes/keyhold.yaml'), 'utf8');
    const documents = parseAllDocuments(text);
    expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
    const objects = documents.map((each) => each.toJS());
    expect(objects.map(({ kind }) => kind)).toEqual([
      'Service',
      'PersistentVolumeClaim',
      'StatefulSet',
      'PodDisruptionBudget',
      'HorizontalPodAutoscaler',
    ]);
    const [, , set, , scaler] = objects;
    const [container] = set.spec.template.spec.containers;
    expect(container.livenessProbe.httpGet.path).toBe('/health/live');
    expect(container.readinessProbe.httpGet.path).toBe('/health/ready');
    expect(scaler.spec.scaleTargetRef.name).toBe(set.metadata.name);
    expect(scaler.spec.metrics[0].pods.metric.name).toBe('keyhold_num_requests_waiting');
    const compose = parseAllDocuments(await readFile(join(DEPLOY, 'compose.yaml'), 'utf8'), { merge: true })[0];
    expect(compose.errors).toEqual([]);
    expect(Object.keys(compose.toJS().services)).toEqual(['proxy', 'keyhold-0', 'keyhold-1']);
  });
});
