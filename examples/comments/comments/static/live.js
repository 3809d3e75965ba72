// Shows new comments as they come. Without it, a reload does.

const comments = document.getElementById("comments");
const source = new EventSource(comments.dataset.events);

source.addEventListener("message", (event) => {
  document.getElementById("empty")?.remove();
  // The server escaped it: this is the very template that the page is made of.
  comments.insertAdjacentHTML("beforeend", JSON.parse(event.data));
  comments.lastElementChild.classList.add("new");
  document.getElementById("count").textContent = event.lastEventId;
});

source.addEventListener("deleted", () => {
  source.close();
  say("This thread has just been deleted.");
});

source.addEventListener("error", () => {
  // Unless it is closed, the browser connects again by itself.
  if (source.readyState === EventSource.CLOSED) {
    say("New comments do not show up by themselves any more. Please reload the page.");
  }
});

function say(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.hidden = false;
}
