// A route that streams text and stops when the client goes away: http-route.mjs, then
//   curl -N -d 'And it came to pass' http://localhost:8080
import { createServer } from 'node:http';
import { loadModelInWorker } from 'keyhold';

const model = await loadModelInWorker(); // in a thread of its own: the event loop stays free
const server = createServer(async (request, response) => {
  let prompt = '';
  for await (const chunk of request.setEncoding('utf8')) prompt += chunk;
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  try {
    const cache = { policy: 'lastrec', cacheLength: 512 };
    for await (const { text } of model.generate(prompt, { cache, maxNewTokens: 300, signal: gone.signal }))
      response.write(text);
    response.end();
  } catch (error) {
    if (gone.signal.aborted) return console.log('the client has gone');
    if (!response.headersSent) response.statusCode = 400;
    response.end(error instanceof Error ? error.message : String(error));
  }
});
server.listen(Number(process.env.PORT ?? 8080), () => console.log(server.address()));
process.on('SIGTERM', async () => {
  server.close();
  server.closeAllConnections();
  await model.dispose();
});
