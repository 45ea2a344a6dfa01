/**
 * @file `leaveStreams` in a process of its own: what its connections keep in memory is not the server's.
 */
import { leaveStreams } from './leaving-clients.ts';

const [url, count, seed] = process.argv.slice(2);
process.stdout.write(String(await leaveStreams(url, Number(count), Number(seed))));
