import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HubServer } from '../../test/support/hub-server.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { HubError } from '../util/errors.ts';
import { downloadFromHub } from './hub-node.ts';
import { proxyFetch } from './proxy-node.ts';

const cacheDir = await tempFolder('proxy');
let hub: HubServer;
let proxy: Server;
let asked: string[];
let address: string;

beforeEach(async () => {
  hub = await HubServer.start();
  asked = [];
  // It answers itself: what comes back through it can't come from the hub.
  proxy = createServer((request, answer) => {
    asked.push(request.url ?? '');
    answer.statusCode = 404;
    answer.end();
  });
  proxy.on('connect', (request, socket) => {
    asked.push(request.url ?? '');
    socket.end('HTTP/1.1 502 no\r\n\r\n');
  });
  await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
  address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
});
afterEach(async () => {
  await hub.close();
  proxy.closeAllConnections();
  proxy.close();
});

const download = (env: Record<string, string>) =>
  downloadFromHub('org/name', { endpoint: hub.endpoint, cacheDir, token: false, retries: 0, env }).catch(
    (error) => error,
  );

it.each(['HTTP_PROXY', 'http_proxy', 'ALL_PROXY'])('goes by the proxy of %s', async (name) => {
  expect(await download({ [name]: address })).toBeInstanceOf(HubError);
  expect(asked.length).toBeGreaterThan(0);
  expect(hub.requests).toHaveLength(0);
});

it('goes to the hosts of NO_PROXY itself', async () => {
  await download({ HTTP_PROXY: address, HTTPS_PROXY: address, NO_PROXY: '127.0.0.1,localhost' });
  expect(asked).toEqual([]);
  expect(hub.requests.length).toBeGreaterThan(0);
});

it('goes itself where no proxy is named, whatever the process has', async () => {
  expect(await proxyFetch({})).toBeUndefined();
  expect(await proxyFetch({ NO_PROXY: 'x' })).toBeUndefined();
});

it('says what a proxy must be', async () => {
  await expect(proxyFetch({ HTTPS_PROXY: 'socks5://localhost:1080' })).rejects.toThrow(
    /"socks5:\/\/localhost:1080" is no http/,
  );
  await expect(proxyFetch({ HTTPS_PROXY: 'http://' })).rejects.toThrow(HubError);
});
