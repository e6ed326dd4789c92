import assert from 'node:assert/strict';
import { test } from 'node:test';
import { profilePath, writeProfile } from './profile.ts';
import { chooseTarget } from './target.ts';
import { testEnvironment } from './test-environment.ts';

test('the server of this machine is the one at its port, and not another that a tunnel leads to', async (t) => {
  const environment = testEnvironment({});
  t.after(() => environment.dispose());
  const isLocal = async (url: string) => (await chooseTarget(environment, { url })).isLocal;
  assert.equal(await isLocal('http://localhost:7717'), true, 'the control: where one is by default');
  await writeProfile(profilePath(environment.variables, environment.home), {
    url: 'http://127.0.0.1:8001',
    home: environment.folder,
  });
  assert.equal(await isLocal('http://localhost:8001'), true);
  assert.equal(await isLocal('http://localhost:9000'), false);
  assert.equal(await isLocal('https://elsewhere.example:8001'), false);
});
