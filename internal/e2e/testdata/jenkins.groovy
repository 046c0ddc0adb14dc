// Runs a declarative Jenkinsfile as Jenkins does, as far as ours goes, in the Groovy that Jenkins has
// (2.4): stages in their order, `sh` as "sh -xe", parameters as variables, a stage's post conditions.
// What it does not know is an error, as it would be in Jenkins. After the Pipeline Syntax reference and
// the Pipeline Steps Reference of jenkins.io.
//
//   groovy jenkins.groovy JENKINSFILE [PARAMETER=VALUE ...]
//
// A credential is the variable of the environment that it is assigned to. It ends with 0 for a build
// that succeeded, 1 for one that failed and 2 for an unstable one.

import static groovy.lang.Closure.DELEGATE_ONLY

class Failed extends Exception {
  Failed(String message) { super(message) }
}

class Build {
  static Map<String, String> params = [:]
  static Map<String, String> env = new TreeMap(System.getenv())
  static boolean unstable

  static run(Closure body, Object directives) {
    body.delegate = directives
    body.resolveStrategy = DELEGATE_ONLY
    body.call()
  }
}

class Steps {
  Map getEnv() { Build.env }
  Map getParams() { Build.params.asImmutable() }

  def script(Closure body) { Build.run(body, this) }
  def error(String message) { throw new Failed(message) }
  def unstable(String message) {
    println "unstable: $message"
    Build.unstable = true
  }

  def sh(Map step) {
    def unknown = step.keySet() - ['label', 'script', 'returnStdout', 'returnStatus']
    if (unknown) throw new Failed("sh does not know $unknown")
    println "== $step.label"
    def builder = new ProcessBuilder('sh', '-xe', '-c', step.script as String).redirectErrorStream(!step.returnStdout)
    if (step.returnStdout) builder.redirectError(ProcessBuilder.Redirect.INHERIT)
    builder.environment().clear()
    Build.env.each { name, value -> builder.environment()[name as String] = value as String }
    def process = builder.start()
    process.outputStream.close()
    def said = process.inputStream.text
    if (!step.returnStdout) print said
    int code = process.waitFor()
    if (step.returnStatus) return code
    if (code) throw new Failed("script returned exit code $code")
    if (step.returnStdout) return said
  }
}

class Environment {
  def credentials(String id) { this }
  void setProperty(String name, Object value) {
    if (value.is(this)) assert Build.env[name]: "no credential for $name"
    else Build.env[name] = value as String
  }
}

class Parameters {
  def string(Map p) { offer(p, p.defaultValue ?: '') }
  def choice(Map p) { offer(p, p.choices.first()) }

  private offer(Map p, String usual) {
    def given = Build.params[p.name]
    if (given != null && p.choices && !(given in p.choices)) throw new Failed("$p.name can't be $given")
    Build.params[p.name] = given ?: usual
  }
}

class Options {
  def disableConcurrentBuilds() {}
  def timeout(Map p) { java.util.concurrent.TimeUnit.valueOf(p.unit as String).toMillis(p.time) }
}

class Stage {
  Closure work
  Closure afterFailure = {}

  def steps(Closure body) { work = body }
  def post(Closure body) { Build.run(body, new Post(stage: this)) }
}

class Post {
  Stage stage
  def failure(Closure body) { stage.afterFailure = body }
}

class Stages {
  def stage(String name, Closure body) {
    println "=== $name"
    def stage = new Stage()
    Build.run(body, stage)
    try {
      Build.run(stage.work, new Steps())
    } catch (Failed failed) {
      Build.run(stage.afterFailure, new Steps())
      throw failed
    }
  }
}

class Pipeline {
  def any = 'any'
  def agent(String label) {}
  def options(Closure body) { Build.run(body, new Options()) }
  def parameters(Closure body) {
    Build.run(body, new Parameters())
    Build.env.putAll(Build.params)
  }
  def environment(Closure body) { Build.run(body, new Environment()) }
  def stages(Closure body) { Build.run(body, new Stages()) }
}

abstract class Declarative extends Script {
  def pipeline(Closure body) { Build.run(body, new Pipeline()) }
}

args.drop(1).each { Build.params.putAll([it.split('=', 2)].collectEntries { [it[0], it[1]] }) }
def configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: Declarative.name)
try {
  new GroovyShell(getClass().classLoader, new Binding(), configuration).evaluate(new File(args[0]))
} catch (Failed failed) {
  println "FAILURE: $failed.message"
  System.exit(1)
}
println Build.unstable ? 'UNSTABLE' : 'SUCCESS'
System.exit(Build.unstable ? 2 : 0)
