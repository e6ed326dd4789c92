import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import {
  attach,
  attachable,
  driverCaller,
  recorded,
  viewerCaller,
} from '../../../tests/support/attach-clients.ts';
import { TestControl } from '../../../tests/support/test-control.ts';

const ann = driverCaller();
let control: TestControl;

beforeEach(async () => {
  control = await TestControl.open();
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
});

test('a driver sees the screen and what follows, types, and the run’s end is told', async () => {
  const { run, terminal } = await attachable(control, ann);
  terminal.write('before');
  const client = await attach(control, ann, run, { role: 'driver' });
  await client.until(({ mayType }) => mayType);
  terminal.write('after');
  await client.until(({ text }) => text.endsWith('after'));
  assert.equal(client.text, '<screen at 6>after');
  await client.type('ls\r');
  await control.runner.until(() => terminal.typed === 'ls\r');
  assert.deepEqual(terminal.inputs, [{ by: 'user:ann', recordInput: false, text: 'ls\r' }]);
  terminal.end(3);
  await client.until(({ closed }) => closed !== null);
  assert.deepEqual(client.last('ended'), { type: 'ended', code: 3, signal: null });
  assert.equal(client.closed?.reason, 'ended');
  const actions = (await recorded(control)).map(({ action }) => action);
  assert.deepEqual(
    actions.filter((action) => action.startsWith('attach.')),
    [
      'attach.drive',
      'attach.drive',
      'attach.connect',
      'attach.lease',
      'attach.input',
      'attach.lease',
      'attach.disconnect',
    ],
  );
});

test('what a driver types before its lease is on record waits for that, and is not lost', async () => {
  const { run, terminal } = await attachable(control, ann);
  const client = await attach(control, ann, run, { role: 'driver' });
  await Promise.all([client.type('early '), client.type('bird')]);
  await control.runner.until(() => terminal.typed === 'early bird');
  assert.equal(client.last('refused'), null);
  const second = await attach(control, driverCaller('bob'), run, { role: 'driver' });
  await second.type('late');
  await second.until(() => second.last('refused') !== null);
  assert.equal(terminal.typed, 'early bird');
});

test('a viewer cannot type, and what it tries is on record', async () => {
  const { run, terminal } = await attachable(control, ann);
  const [driver, viewer] = [
    await attach(control, ann, run, { role: 'driver' }),
    await attach(control, viewerCaller(), run),
  ];
  await driver.until(({ mayType }) => mayType);
  await viewer.type('rm -rf /\r');
  await viewer.until((client) => client.last('refused') !== null);
  await driver.type('ok');
  await control.runner.until(() => terminal.typed.includes('ok'));
  assert.equal(terminal.typed, 'ok');
  const refused = (await recorded(control)).find(
    ({ action, outcome }) => action === 'attach.input' && outcome === 'denied',
  );
  assert.deepEqual([refused?.actor.id, refused?.decision.rule], ['user:vera', 'attach:viewer']);
});
