/**
 * A server that answers as S3 does: objects by path, signatures, ETags and conditions.
 */
import { createHash, createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

export const S3_KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret/key' };
export const S3_REGION = 'eu-central-1';

export interface S3Server {
  readonly url: string;
  readonly objects: Map<string, Uint8Array>;
  /** What was asked, such as "PUT /bucket/a". */
  readonly requests: string[];
  /** The next requests get these answers. */
  readonly faults: number[];
  close(): Promise<void>;
}

const etagOf = (bytes: Uint8Array) => `"${createHash('md5').update(bytes).digest('hex')}"`;

export async function startS3(): Promise<S3Server> {
  const objects = new Map<string, Uint8Array>();
  const requests: string[] = [];
  const faults: number[] = [];
  const answer = async (
    request: IncomingMessage,
  ): Promise<[status: number, body: string | Uint8Array, etag?: string]> => {
    const body = await buffer(request);
    const { method, url: path = '', headers } = request;
    requests.push(`${method} ${path}`);
    const fault = faults.shift();
    if (fault !== undefined) return [fault, '<Error><Code>InternalError</Code></Error>'];
    if (!isSigned(request)) return [403, '<Error><Code>SignatureDoesNotMatch</Code></Error>'];
    const there = objects.get(path);
    if (method === 'PUT') {
      if (headers['if-none-match'] === '*' && there) return [412, '<Error><Code>PreconditionFailed</Code></Error>'];
      if (headers['if-match'] !== undefined) {
        if (!there) return [404, '<Error><Code>NoSuchKey</Code></Error>'];
        if (headers['if-match'] !== etagOf(there)) return [412, '<Error><Code>PreconditionFailed</Code></Error>'];
      }
      objects.set(path, body);
      return [200, '', etagOf(body)];
    }
    if (method === 'DELETE') {
      objects.delete(path);
      return [204, ''];
    }
    if (!there) return [404, '<Error><Code>NoSuchKey</Code></Error>'];
    return [200, method === 'HEAD' ? '' : there, etagOf(there)];
  };
  const server = createServer((request, response) => {
    void answer(request).then(([status, body, etag]) => {
      response.writeHead(status, etag === undefined ? {} : { etag });
      response.end(request.method === 'HEAD' ? undefined : body);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    objects,
    requests,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** Version 4 of Amazon's signatures, from its description. */
function isSigned({ method, url = '', headers }: IncomingMessage): boolean {
  const [, credential, signed, signature] =
    /^AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=(\w+)$/.exec(headers.authorization ?? '') ?? [];
  if (credential === undefined) return false;
  const [keyId, day, region, service, end] = credential.split('/');
  if (keyId !== S3_KEYS.accessKeyId || region !== S3_REGION || service !== 's3') return false;
  const names = signed.split(';');
  const payload = String(headers['x-amz-content-sha256']);
  const lines = names.map((name) => `${name}:${String(headers[name]).trim()}\n`).join('');
  const [path, query = ''] = url.split('?');
  const canonical = [method, path, query, lines, signed, payload].join('\n');
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], [day, region, service, end].join('/'), hash].join('\n');
  const mac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();
  const key = [day, region, service, end].reduce<string | Buffer>(mac, `AWS4${S3_KEYS.secretAccessKey}`);
  return mac(key, text).toString('hex') === signature;
}
