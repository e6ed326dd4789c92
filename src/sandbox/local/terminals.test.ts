import { after, before, test } from 'node:test';
import {
  isOrdinaryUser,
  openBench,
  passesAsOrdinaryUser,
  skipAs,
} from '../../../tests/support/ordinary-user.ts';
import { backendConformance } from '../backend.conformance.ts';
import { terminalConformance } from '../terminal.conformance.ts';

let bench: Awaited<ReturnType<typeof openBench>>;

if (isOrdinaryUser || skipAs.root === false) {
  before(async () => {
    bench = await openBench();
  });
  after(async () => await bench?.remove());
  terminalConformance('local', () => bench);
  // As root it is tried in local-backend.test.ts.
  if (isOrdinaryUser) backendConformance('local', () => bench);
} else {
  test('terminals and commands beside keep their promises to root', { skip: skipAs.root }, () => undefined);
}

if (!isOrdinaryUser)
  test(
    'the backend, its terminals and commands beside keep their promises to an ordinary user',
    { skip: skipAs.user },
    async () => await passesAsOrdinaryUser(import.meta.filename),
  );
