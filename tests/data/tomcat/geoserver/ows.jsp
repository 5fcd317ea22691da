<%@ page trimDirectiveWhitespaces="true" session="false" contentType="text/xml;charset=UTF-8" import="java.awt.image.BufferedImage, java.nio.file.*, javax.imageio.ImageIO" %>
<%!
  /* GeoServer takes its time to start. This one takes until the test creates the file `ready`: until then Tomcat listens, and
     answers nobody. */
  @Override
  public void jspInit() {
    Path ready = Path.of(System.getProperty("catalina.base"), "ready");
    try {
      while (!Files.exists(ready)) {
        Thread.sleep(20);
      }
    } catch (InterruptedException stopped) {
      Thread.currentThread().interrupt();
    }
  }
%>
<%
  if (String.valueOf(request.getQueryString()).toLowerCase().contains("request=getmap")) {
    response.reset();
    response.setContentType("image/png");
    ImageIO.write(new BufferedImage(64, 64, BufferedImage.TYPE_INT_RGB), "png", response.getOutputStream());
    out.clear();
    out = pageContext.pushBody();
    return;
  }
%>
<?xml version="1.0" encoding="UTF-8"?>
<WMS_Capabilities xmlns="http://www.opengis.net/wms" version="1.3.0" updateSequence="1">
  <Service><Name>WMS</Name><Title>A webapp on Tomcat</Title></Service>
</WMS_Capabilities>
