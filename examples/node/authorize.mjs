// Answers gateways that ask whether a request may pass: see README.md.
import { authenticate, deny, startTask } from './api-keys.mjs';

// A header field has ASCII only. The body may have other characters: the names of plans.
const inHeader = (body) => JSON.stringify(body).replace(/[\u007f-\uffff]/g,
  (character) => '\\u' + character.charCodeAt(0).toString(16).padStart(4, '0'));

// For a gateway that passes no other denial than 403, and no body.
const denyAs403 = (reply, { http_status, headers, error }) => reply.code(403)
  .headers({ ...headers, 'X-Vpk-Status': http_status, 'X-Vpk-Error': inHeader(error) }).send();

export async function authorize(app, { pool }) {
  // The body of the client's request stays with the gateway. Its Content-Type may come.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request, body, done) => { body.resume(); done(null); });

  const answer = (denied) => async (request, reply) => {
    const scope = request.headers['x-vpk-scope'] || null;
    const startsTask = Boolean(request.headers['x-vpk-task']);
    const caller = await authenticate(pool, request.headers, scope, startsTask ? 0 : 1);
    if (caller.status !== 'VALID') return denied(reply, caller);
    let task = { lease: '', running: '', allowed: '' };
    if (startsTask) {
      task = await startTask(pool, request.headers, caller.request_id, '1 minute');
      if (task.status !== 'VALID') return denied(reply, task);
    }
    return reply.headers({
      'X-Vpk-Key-Id': caller.key_id,
      'X-Vpk-Account': encodeURIComponent(caller.account), // it may have any character
      'X-Request-Id': caller.request_id,
      // Empty without a task: of a field that is missing, Caddy makes one with a text of its own.
      'X-Vpk-Lease': task.lease,
      'X-Vpk-Running': task.running,
      'X-Vpk-Allowed': task.allowed ?? '',
    }).send();
  };
  app.all('/authorize', answer(deny));
  app.all('/authorize/*', answer(deny)); // Envoy adds the path of the client's request
  app.all('/authorize-403', answer(denyAs403));
}
