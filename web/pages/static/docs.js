/**
 * Draws the API's documentation from its OpenAPI document.
 * @module
 */

const place = document.getElementById("swagger-ui");

/** "Try it out" asks whom this page came from, under whichever name that is known here. */
async function documentForHere() {
  const answer = await fetch(place.dataset.document);
  if (!answer.ok) throw new Error(`The OpenAPI document could not be read (${answer.status}).`);
  return { ...(await answer.json()), servers: [{ url: location.origin }] };
}

window.SwaggerUIBundle({
  domNode: place,
  spec: await documentForHere(),
  presets: [window.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null, // would send the document to somebody else
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
});
