// A pod's whole life with the published TypeScript client, through one of its two packages:
//   node script.cjs @tapis/tapis-typescript-pods
// The client makes objects of what it is sent; here each of them is looked at, dates and nested maps included.

const assert = require("node:assert/strict");

const packageName = process.argv[2];
const loaded = require(packageName);
const Pods = loaded.Pods ?? loaded;

const { BASE_URL, TOKEN, ADMIN_TOKEN, USER, IMAGE, UNIQUE } = process.env;

/** The client's APIs for one caller. */
function apis(token, headers = {}) {
  const configuration = new Pods.Configuration({ basePath: BASE_URL, headers: { "X-Tapis-Token": token, ...headers } });
  const names = ["ImagesApi", "JupyterApi", "PermissionsApi", "PodsApi", "TemplatesApi"];
  return Object.fromEntries(names.map((name) => [name, new Pods[name](configuration)]));
}

const { ImagesApi: images, JupyterApi: jupyter, PermissionsApi: permissions, PodsApi: pods, TemplatesApi: templates } =
  apis(TOKEN);
const admin = apis(ADMIN_TOKEN, { "X-Pods-Admin": "true" });

const podId = `ts${UNIQUE}`;
const templateId = `tstpl${UNIQUE}`;
const image = `example.org/typescript/${UNIQUE}`;

/** The envelope of a success. */
async function answer(call) {
  let envelope;
  try {
    envelope = await call;
  } catch (failure) {
    // This client throws the response itself.
    const text = failure instanceof Response ? `${failure.status} ${await failure.text()}` : failure.stack;
    throw new Error(`the call failed: ${text}`);
  }
  for (const key of ["message", "status", "version"]) assert.equal(typeof envelope[key], "string", key);
  assert.deepEqual(Object.prototype.toString.call(envelope.metadata), "[object Object]");
  assert.ok(["success", "error"].includes(envelope.status), envelope.status);
  return envelope;
}

const result = async (call) => (await answer(call)).result;

async function refused(code, call) {
  try {
    await call;
  } catch (failure) {
    assert.ok(failure instanceof Response, String(failure));
    assert.equal(failure.status, code);
    const body = await failure.json();
    assert.equal(body.status, "error");
    assert.ok(body.message.length > 0);
    return body;
  }
  throw new Error(`accepted instead of ${code}`);
}

function date(value, what) {
  assert.ok(value instanceof Date && !Number.isNaN(value.getTime()), `${what} is no date: ${value}`);
}

function pod(found) {
  assert.equal(typeof found.pod_id, "string");
  for (const key of ["description", "status", "status_requested", "compute_queue"]) {
    assert.equal(typeof found[key], "string", key);
  }
  date(found.creation_ts, "creation_ts");
  date(found.update_ts, "update_ts");
  for (const key of ["start_instance_ts", "time_to_stop_ts"]) if (found[key] !== undefined) date(found[key], key);
  assert.equal(typeof found.time_to_stop_default, "number");
  for (const entry of Object.values(found.networking)) {
    assert.equal(typeof entry.port, "number");
    assert.equal(typeof entry.url, "string");
    assert.ok(Array.isArray(entry.tapis_auth_allowed_users));
  }
  for (const value of Object.values(found.resources)) assert.ok(Number.isInteger(value), JSON.stringify(found.resources));
  for (const mount of Object.values(found.volume_mounts)) assert.equal(typeof mount.type, "string");
  assert.ok(found.image || found.template, "neither image nor template");
  return found;
}

function tag(found) {
  assert.match(found.tag_timestamp, /^[a-zA-Z0-9.-]+@\d{4}-\d{2}-\d{2}-\d{2}:\d{2}:\d{2}$/);
  date(found.creation_ts, "creation_ts");
  assert.equal(typeof found.commit_message, "string");
  return found;
}

function template(found) {
  assert.equal(typeof found.template_id, "string");
  assert.ok(Array.isArray(found.metatags));
  date(found.creation_ts, "creation_ts");
  date(found.update_ts, "update_ts");
  return found;
}

async function awaitStatus(wanted) {
  const end = Date.now() + 90_000;
  for (;;) {
    const found = pod(await result(pods.getPod({ podId })));
    if (found.status === wanted) return found;
    assert.ok(Date.now() < end, `${podId} is ${found.status}: ${JSON.stringify(found.status_container)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function main() {
  // --- images
  const added = await result(admin.ImagesApi.addImage({ newImage: { image, tenants: ["dev"], description: "of ts" } }));
  assert.equal(added.image, image);
  date(added.creation_ts, "creation_ts");
  const bulk = [{ image: `${image}/a`, tenants: ["dev"] }, { image, tenants: ["dev"] }];
  const more = await result(admin.ImagesApi.addImages({ newImage: bulk, skipDuplicates: true }));
  assert.deepEqual(more.map((each) => each.image), [`${image}/a`]);
  assert.ok((await result(images.getImages())).some((each) => each.image === image));
  assert.equal((await result(images.getImage({ imageId: image }))).description, "of ts");
  await refused(403, images.addImage({ newImage: { image: "not/mine", tenants: [] } }));

  // --- templates and tags
  const newTemplate = { template_id: templateId, description: "of ts", metatags: ["ts"] };
  template(await result(templates.addTemplate({ newTemplate })));
  const changed = await result(templates.updateTemplate({ templateId, updateTemplate: { description: "changed" } }));
  assert.equal(template(changed).description, "changed");
  assert.equal(template(await result(templates.getTemplate({ templateId }))).template_id, templateId);
  assert.ok((await result(templates.listTemplates())).map(template).some((each) => each.template_id === templateId));
  const newTemplateTag = {
    tag: "v1",
    commit_message: "first",
    pod_definition: { image: IMAGE, environment_variables: { FROM: "the template" }, resources: { mem_request: 12 } },
  };
  const first = tag(await result(templates.addTemplateTag({ templateId, newTemplateTag })));
  assert.equal(first.pod_definition.image, IMAGE);
  assert.deepEqual((await result(templates.listTemplateTags({ templateId, full: true }))).map((each) => tag(each).tag), ["v1"]);
  for (const each of await result(templates.listTemplateTags({ templateId, full: false }))) tag(each);
  for (const tagId of ["v1", first.tag_timestamp]) {
    const [found] = await result(templates.getTemplateTag({ templateId, tagId }));
    assert.equal(tag(found).tag_timestamp, first.tag_timestamp);
  }
  const everything = await result(templates.listTemplatesAndTags({ full: true }));
  assert.deepEqual(everything[templateId].tags.map((each) => each.tag), ["v1"]);
  const setPermission = { user: "bob", level: "READ" };
  const granted = await result(permissions.setTemplatePermission({ templateId, setPermission }));
  assert.deepEqual(granted.permissions, [`${USER}:ADMIN`, "bob:READ"]);
  assert.deepEqual((await result(permissions.getTemplatePermissions({ templateId }))).permissions, granted.permissions);
  await result(permissions.deleteTemplatePermission({ templateId, user: "bob" }));

  // --- pods; the mount is of the shape that this client's document describes
  const newPod = {
    pod_id: podId,
    template: `${templateId}:v1`,
    description: "of ts",
    environment_variables: { MINE: "1" },
    time_to_stop_default: -1,
  };
  const created = pod(await result(pods.createPod({ newPod })));
  assert.equal(created.status, "REQUESTED");
  assert.equal(created.template, `${templateId}:${first.tag_timestamp}`);
  await refused(409, pods.createPod({ newPod }));
  await refused(404, pods.getPod({ podId: `${podId}x` }));
  assert.ok((await result(pods.listPods())).map(pod).some((each) => each.pod_id === podId));
  date((await awaitStatus("AVAILABLE")).start_instance_ts, "start_instance_ts");
  const derived = pod(await result(pods.getDerivedPod({ podId })));
  assert.equal(derived.image, IMAGE);
  assert.deepEqual(derived.environment_variables, { FROM: "the template", MINE: "1" });
  const credentials = await result(pods.getPodCredentials({ podId }));
  assert.equal(credentials.user_username, podId);
  const logs = await result(pods.getPodLogs({ podId }));
  assert.equal(typeof logs.logs, "string");
  assert.ok(logs.action_logs.length > 0);
  const updatePod = { description: "changed", networking: { default: { protocol: "http", port: 5000 } } };
  assert.equal(pod(await result(pods.updatePod({ podId, updatePod }))).description, "changed");
  const unchanged = await answer(pods.updatePod({ podId, updatePod: { description: "changed" } }));
  assert.equal(unchanged.status, "error");
  assert.equal(pod(unchanged.result).description, "changed");
  const podGrants = await result(permissions.setPodPermission({ podId, setPermission: { user: "bob", level: "USER" } }));
  assert.deepEqual(podGrants.permissions, [`${USER}:ADMIN`, "bob:USER"]);
  assert.deepEqual((await result(permissions.getPodPermissions({ podId }))).permissions, podGrants.permissions);
  await result(permissions.deletePodPermission({ podId, user: "bob" }));
  const newTemplateTagFromPod = { template_id: templateId, tag: "saved", commit_message: "from the pod" };
  assert.equal(tag(await result(pods.savePodAsTemplateTag({ podIdNet: podId, newTemplateTagFromPod }))).tag, "saved");

  pod(await result(pods.stopPod({ podId })));
  await awaitStatus("STOPPED");
  pod(await result(pods.startPod({ podId })));
  await awaitStatus("AVAILABLE");
  pod(await result(pods.restartPod({ podId, grabLatestTemplateTag: true })));
  await awaitStatus("AVAILABLE");

  // --- volume mounts as this client's document has them: keyed by volume
  const mounted = `${podId}m`;
  const volumeMounts = { ops: { type: "tapisvolume", mount_path: "/data", sub_path: "" } };
  const body = { pod_id: mounted, image: IMAGE, status_requested: "OFF", volume_mounts: volumeMounts };
  assert.deepEqual(Object.keys(pod(await result(pods.createPod({ newPod: body }))).volume_mounts), ["/data"]);
  assert.equal(await result(pods.deletePod({ podId: mounted })), "");

  // --- Jupyter: this client takes the answer as text
  const ensured = JSON.parse(await jupyter.ensureJupyterPod());
  assert.equal(typeof ensured.result.url, "string");
  await result(pods.deletePod({ podId: ensured.result.pod_id }));

  // --- deletion
  assert.equal(await result(pods.deletePod({ podId })), "");
  await refused(404, pods.getPod({ podId }));
  assert.equal(await result(templates.deleteTemplate({ templateId })), "");
  for (const imageId of [image, `${image}/a`]) assert.equal(typeof (await result(admin.ImagesApi.deleteImage({ imageId }))), "string");
  console.log("done");
}

main().catch((error) => {
  console.error(error.stack);
  process.exitCode = 1;
});
