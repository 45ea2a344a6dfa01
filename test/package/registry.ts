/**
 * @file A registry on this machine that has this package's tarballs, and leads to the user's registry for all others.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { command, ROOT } from './run.ts';

export interface Registry {
  readonly url: string;
  close(): Promise<void>;
}

/** @param tarballs versions of keyhold; without any the name is unknown. The last one is `latest`. */
export async function startRegistry(tarballs: readonly string[]): Promise<Registry> {
  const upstream = (await command('npm', ['config', 'get', 'registry'], ROOT)).trim().replace(/\/$/, '');
  const files = new Map<string, Buffer>();
  const versions: Record<string, object> = {};
  let latest = '';
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!);
    const file = files.get(basename(path));
    if (path === '/keyhold' && latest !== '') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ name: 'keyhold', 'dist-tags': { latest }, versions }));
    } else if (path.startsWith('/keyhold/-/') && file) {
      response.end(file);
    } else if (path.startsWith('/keyhold')) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"Not found"}');
    } else {
      response.writeHead(307, { location: `${upstream}${request.url}` }).end();
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const tarball of tarballs) {
    const bytes = await readFile(tarball);
    const manifest = JSON.parse(await command('tar', ['-xzOf', tarball, 'package/package.json'], ROOT)) as {
      version: string;
    };
    latest = manifest.version;
    files.set(basename(tarball), bytes);
    versions[latest] = {
      ...manifest,
      dist: {
        tarball: `${url}/keyhold/-/${basename(tarball)}`,
        integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
        shasum: createHash('sha1').update(bytes).digest('hex'),
      },
    };
  }
  return {
    url,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
